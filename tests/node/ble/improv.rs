//! Improv over D-Bus: its advertisement, and the links of its clients.

use std::collections::{BTreeMap, HashMap};
use std::io::ErrorKind;
use std::os::unix::net::UnixDatagram;
use std::sync::Arc;

use futures_util::StreamExt as _;
use jarvis_provisioning::daemon::{Event, View};
use provisioning_core::improv::{Characteristic, FromClient, Notice, Shown, State};
use tokio::sync::mpsc;
use tokio::time::timeout;
use zbus::{OwnedVariant, Variant};

use super::{ADVERTISEMENT, ADVERTISEMENT_INTERFACE, DEADLINE, Lab, changes_of, leaves, options};

const OWN: &str = ADVERTISEMENT;
const IMPROV: &str = "/jarvis/advertisement_improv";
const SERVICE: &str = "/jarvis/provisioning/service_improv";
const SERVICE_DATA: &str = "00004677-0000-1000-8000-00805f9b34fb";

pub(crate) fn shows(lab: &Lab, state: State, advertised: bool) {
    let improv = Some(Shown { state, advertised });
    lab.ends.view.send_modify(|view| *view = Arc::new(View { improv, ..View::clone(view) }));
}

/// A node that serves Improv's clients, and whose `BlueZ` has room for so many advertisements.
async fn lab(room: usize) -> Option<Lab> {
    let lab = Lab::start_with(|world| world.room = room).await?;
    shows(&lab, State::AuthorizationRequired, true);
    lab.fake.until_advertised().await;
    Some(lab)
}

/// The object of a characteristic.
fn path(characteristic: Characteristic) -> String {
    format!("{SERVICE}/{}", characteristic as u8)
}

async fn notified(lab: &Lab, characteristic: Characteristic, phone: &str) -> UnixDatagram {
    let (socket, mtu) = lab.subscribe(&path(characteristic), phone).await;
    assert_eq!(mtu, 517);
    socket
}

async fn read(lab: &Lab, characteristic: Characteristic, phone: &str) -> Option<Vec<u8>> {
    lab.read(&path(characteristic), phone).await
}

fn value(socket: &UnixDatagram) -> Vec<u8> {
    let mut value = [0; 512];
    let length = socket.recv(&mut value).expect("a value in time");
    value[..length].to_vec()
}

/// The link that a client has opened, and the way to it.
async fn opened(lab: &mut Lab) -> mpsc::Sender<Vec<u8>> {
    let event = lab.event().await;
    let Event::Opened { outbound, .. } = event else { panic!("{event:?}") };
    let event = lab.event().await;
    assert!(matches!(event, Event::Improv { from: FromClient::Opened { room: 495 }, .. }), "{event:?}");
    outbound
}

#[tokio::test]
async fn improv_is_advertised_after_the_nodes_own_service_and_follows_every_state() {
    let Some(lab) = lab(5).await else { return };
    lab.until_advertised(&[OWN, IMPROV]).await;
    let read = lab.fake.call(&lab.fake.connection, IMPROV, "GetAll", &(ADVERTISEMENT_INTERFACE,)).await.expect("an answer");
    let body = read.body();
    let properties: HashMap<String, OwnedVariant> = body.deserialize().expect("properties");
    assert!(!properties.contains_key("LocalName"), "there is no room for a name");
    let mut changes = changes_of(&lab, IMPROV).await;
    for state in [State::Authorized, State::Provisioning, State::Provisioned, State::Authorized] {
        shows(&lab, state, true);
        let change = timeout(DEADLINE, changes.next()).await.expect("in time").expect("the bus is there").expect("a message");
        let body = change.body();
        let (_, properties, _) = body.deserialize::<(&str, HashMap<&str, Variant<'_>>, Vec<&str>)>().expect("a change");
        let data = BTreeMap::from([(SERVICE_DATA, Variant::from(vec![state as u8, 7, 0, 0, 0, 0]))]);
        assert_eq!(properties["ServiceData"], data.into());
    }
    // A node that has a network does not advertise it.
    shows(&lab, State::Provisioned, false);
    lab.until_advertised(&[OWN]).await;
    shows(&lab, State::Authorized, true);
    lab.until_advertised(&[OWN, IMPROV]).await;
    lab.ends.advertising.send_replace(false);
    lab.until_advertised(&[]).await;
}

#[tokio::test]
async fn without_room_for_improv_the_node_advertises_its_own_service_and_serves_phones() {
    let Some(lab) = lab(1).await else { return };
    lab.fake.until("it has tried both", |world| world.script.calls_of("RegisterAdvertisement") == 2).await;
    lab.until_advertised(&[OWN]).await;
    let answer = read(&lab, Characteristic::State, "dev_1").await;
    assert_eq!(answer, Some(vec![1]), "its service is there");
    assert_eq!(lab.fake.world().script.calls_of("RegisterApplication"), 1);
    // There is room now, and something has changed.
    lab.fake.world().room = 2;
    lab.ends.advertising.send_replace(false);
    lab.until_advertised(&[]).await;
    lab.ends.advertising.send_replace(true);
    lab.until_advertised(&[OWN, IMPROV]).await;
}

#[tokio::test]
async fn a_client_is_notified_of_what_it_has_subscribed_to_and_writes_are_acknowledged_at_once() {
    let Some(mut lab) = lab(5).await else { return };
    let (error, result) =
        (notified(&lab, Characteristic::Error, "dev_1").await, notified(&lab, Characteristic::Result, "dev_1").await);
    let outbound = opened(&mut lab).await;
    assert_eq!(read(&lab, Characteristic::Error, "dev_1").await, Some(vec![0]));
    assert_eq!(read(&lab, Characteristic::Result, "dev_1").await, Some(vec![]));
    assert_eq!(read(&lab, Characteristic::Capabilities, "dev_1").await, Some(vec![7]));
    assert_eq!(read(&lab, Characteristic::Command, "dev_1").await, None);
    let connection = lab.fake.connection.clone();
    let command = format!("{SERVICE}/{}", Characteristic::Command as u8);
    // The loop answers nothing here.
    lab.fake.call(&connection, &command, "WriteValue", &(vec![2_u8, 0, 2], options("dev_1"))).await.expect("acknowledged");
    let event = lab.event().await;
    let Event::Improv { from: FromClient::Written { value: written, room: 495 }, .. } = event else { panic!("{event:?}") };
    assert_eq!(written.expose(), [2, 0, 2]);
    for notice in [
        Notice::state(State::Authorized),
        Notice::error(provisioning_core::improv::Error::UnableToConnect),
        Notice::result(vec![1, 0, 1]),
    ] {
        outbound.send(notice.encode()).await.expect("the link is there");
    }
    let (error, result) =
        tokio::task::spawn_blocking(move || ((value(&error), error), (value(&result), result))).await.expect("values");
    assert_eq!((&error.0[..], &result.0[..]), (&[3][..], &[1, 0, 1][..]), "and not the state");
    assert_eq!(read(&lab, Characteristic::Error, "dev_1").await, Some(vec![3]));
    assert_eq!(read(&lab, Characteristic::Result, "dev_1").await, Some(vec![1, 0, 1]));
    assert_eq!(read(&lab, Characteristic::Error, "dev_2").await, Some(vec![0]), "another client's");
    // It leaves, and comes back to a link of its own.
    leaves(&lab, "hci0/dev_1").await;
    let event = lab.event().await;
    assert!(matches!(event, Event::Closed { .. }), "{event:?}");
    assert_eq!(read(&lab, Characteristic::Error, "dev_1").await, Some(vec![0]));
    error.1.set_nonblocking(true).expect("a socket");
    assert!(!matches!(error.1.recv(&mut [0; 8]).map_err(|error| error.kind()), Ok(1..) | Err(ErrorKind::WouldBlock)), "closed");
    let again = notified(&lab, Characteristic::State, "dev_1").await;
    let outbound = opened(&mut lab).await;
    outbound.send(Notice::state(State::Provisioned).encode()).await.expect("the link is there");
    let heard = tokio::task::spawn_blocking(move || value(&again)).await.expect("a value");
    assert_eq!(heard, [4]);
}

#[tokio::test]
async fn what_improvs_characteristics_do_not_have_is_refused() {
    let Some(lab) = lab(5).await else { return };
    let connection = lab.fake.connection.clone();
    for characteristic in Characteristic::ALL {
        let path = format!("{SERVICE}/{}", characteristic as u8);
        for member in ["ReadValue", "WriteValue", "AcquireNotify", "StartNotify", "Confirm"] {
            let refused = lab.fake.call(&connection, &path, member, &"what is this?").await;
            assert!(refused.is_err(), "{member} of {path}");
        }
        if characteristic != Characteristic::Command {
            let refused = lab.fake.call(&connection, &path, "WriteValue", &(vec![1_u8], options("dev_1"))).await;
            assert!(refused.is_err(), "writing {path}");
        }
        if !characteristic.notifies() {
            let refused = lab.fake.call(&connection, &path, "AcquireNotify", &(options("dev_1"),)).await;
            assert!(refused.is_err(), "subscribing to {path}");
        }
        let mut past = options("dev_1");
        past.insert("offset", 9_u16.into());
        let refused = lab.fake.call(&connection, &path, "ReadValue", &(past.clone(),)).await;
        assert!(refused.is_err(), "past the end of {path}");
        let refused = lab.fake.call(&connection, &path, "WriteValue", &(vec![1_u8], past)).await;
        assert!(refused.is_err(), "in the middle of {path}");
    }
    let mut prepared = options("dev_1");
    prepared.insert("prepare-authorize", true.into());
    let command = format!("{SERVICE}/{}", Characteristic::Command as u8);
    lab.fake.call(&connection, &command, "WriteValue", &(vec![1_u8], prepared)).await.expect("a long write may begin");
}
