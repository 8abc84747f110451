//! nymea's services over D-Bus: their advertisement, and the links of their clients.

use std::net::Ipv4Addr;
use std::os::unix::net::UnixDatagram;
use std::sync::Arc;

use jarvis_provisioning::daemon::{Event, View};
use provisioning_core::nymea::{Characteristic, FromClient, Network, Notice, Shown, WIRELESS_SERVICE, Wireless};
use uuid::Uuid;
use zbus::OwnedVariant;

use super::{ADVERTISEMENT, ADVERTISEMENT_INTERFACE, Lab, options};

const NYMEA: &str = "/jarvis/advertisement_nymea";
const IMPROV: &str = "/jarvis/advertisement_improv";

/// The object of a characteristic.
fn path(characteristic: Characteristic) -> String {
    let service = if characteristic.service() == WIRELESS_SERVICE { "service_nymea" } else { "service_nymea_network" };
    format!("/jarvis/provisioning/{service}/{}", characteristic as u8 % 16)
}

fn shows(lab: &Lab, shown: Shown) {
    lab.ends.view.send_modify(|view| *view = Arc::new(View { nymea: Some(shown), ..View::clone(view) }));
}

async fn lab(room: usize) -> Option<Lab> {
    let lab = Lab::start_with(|world| world.room = room).await?;
    shows(&lab, Shown::default());
    lab.fake.until_advertised().await;
    Some(lab)
}

async fn notified(lab: &Lab, characteristic: Characteristic, phone: &str) -> UnixDatagram {
    lab.subscribe(&path(characteristic), phone).await.0
}

async fn read(lab: &Lab, characteristic: Characteristic) -> Option<Vec<u8>> {
    lab.read(&path(characteristic), "dev_1").await
}

#[tokio::test]
async fn nymeas_service_is_advertised_last_without_a_name_and_first_left_out() {
    let Some(lab) = lab(5).await else { return };
    lab.until_advertised(&[ADVERTISEMENT, NYMEA]).await;
    let read = lab.fake.call(&lab.fake.connection, NYMEA, "GetAll", &(ADVERTISEMENT_INTERFACE,)).await.expect("an answer");
    let body = read.body();
    let properties: std::collections::HashMap<String, OwnedVariant> = body.deserialize().expect("properties");
    assert!(!properties.contains_key("LocalName") && !properties.contains_key("ServiceData"));
    assert_eq!(*properties["ServiceUUIDs"], vec![Uuid::from_u128(WIRELESS_SERVICE).to_string()].into());
    // A node that has a network does not advertise it.
    shows(&lab, Shown { advertised: false, ..Shown::default() });
    lab.until_advertised(&[ADVERTISEMENT]).await;
    // With room for two, Improv comes first.
    let Some(crowded) = self::lab(2).await else { return };
    super::improv::shows(&crowded, provisioning_core::improv::State::AuthorizationRequired, true);
    crowded.until_advertised(&[ADVERTISEMENT, IMPROV]).await;
}

#[tokio::test]
async fn a_client_reads_states_and_gets_an_answer_in_pieces() {
    let Some(mut lab) = lab(5).await else { return };
    let shown = Shown { wireless: Wireless::Activated, network: Network::Global, access_point: true, advertised: true };
    shows(&lab, shown);
    for (characteristic, value) in [
        (Characteristic::Wireless, Some(vec![10])),
        (Characteristic::Mode, Some(vec![3])),
        (Characteristic::Network, Some(vec![7])),
        (Characteristic::NetworkingEnabled, Some(vec![1])),
        (Characteristic::WirelessEnabled, Some(vec![1])),
        (Characteristic::Commander, None),
        (Characteristic::Answer, None),
        (Characteristic::NetworkAnswer, None),
    ] {
        assert_eq!(read(&lab, characteristic).await, value, "{characteristic:?}");
    }
    let (answers, states) =
        (notified(&lab, Characteristic::Answer, "dev_1").await, notified(&lab, Characteristic::Wireless, "dev_1").await);
    let event = lab.event().await;
    let Event::Opened { outbound, .. } = event else { panic!("{event:?}") };
    let event = lab.event().await;
    assert!(matches!(event, Event::Nymea { from: FromClient::Opened, .. }), "{event:?}");
    let connection = lab.fake.connection.clone();
    let command = path(Characteristic::Commander);
    // The loop answers nothing here.
    lab.fake.call(&connection, &command, "WriteValue", &(b"{\"c\":4}\n".to_vec(), options("dev_1"))).await.expect("acknowledged");
    let event = lab.event().await;
    let Event::Nymea { from: FromClient::Written { characteristic, value, address }, .. } = event else { panic!("{event:?}") };
    assert_eq!((characteristic, value.expose()), (Characteristic::Commander, &b"{\"c\":4}\n"[..]));
    assert!(address.is_none_or(|address| address != Ipv4Addr::UNSPECIFIED));
    let answer = b"{\"c\":5,\"p\":{\"e\":\"home\"},\"r\":0}\n".to_vec();
    for notice in [Notice::answer(answer.clone()), Notice::state(Characteristic::Wireless, 5)] {
        outbound.send(notice.encode()).await.expect("the link is there");
    }
    let heard = tokio::task::spawn_blocking(move || {
        let mut value = [0; 512];
        let mut whole = Vec::new();
        while !whole.ends_with(b"\n") {
            let length = answers.recv(&mut value).expect("a piece in time");
            assert!(length <= 20);
            whole.extend_from_slice(&value[..length]);
        }
        let length = states.recv(&mut value).expect("a state in time");
        (whole, value[..length].to_vec())
    });
    assert_eq!(heard.await.expect("values"), (answer, vec![5]));
}

#[tokio::test]
async fn what_nymeas_characteristics_do_not_have_is_refused() {
    let Some(lab) = lab(5).await else { return };
    let connection = lab.fake.connection.clone();
    for characteristic in Characteristic::ALL {
        let path = path(characteristic);
        for member in ["ReadValue", "WriteValue", "AcquireNotify", "StartNotify", "Confirm"] {
            assert!(lab.fake.call(&connection, &path, member, &"what is this?").await.is_err(), "{member} of {path}");
        }
        if !characteristic.is_written() {
            let refused = lab.fake.call(&connection, &path, "WriteValue", &(vec![1_u8], options("dev_1"))).await;
            assert!(refused.is_err(), "writing {path}");
        }
        if !characteristic.notifies() {
            assert!(
                lab.fake.call(&connection, &path, "AcquireNotify", &(options("dev_1"),)).await.is_err(),
                "subscribing to {path}"
            );
        }
        let mut past = options("dev_1");
        past.insert("offset", 9_u16.into());
        assert!(lab.fake.call(&connection, &path, "ReadValue", &(past.clone(),)).await.is_err(), "past the end of {path}");
        assert!(lab.fake.call(&connection, &path, "WriteValue", &(vec![1_u8], past)).await.is_err(), "in the middle of {path}");
    }
}
