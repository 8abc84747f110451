//! The country of the radio, and what the supplicant tells.

use std::collections::HashMap;

use jarvis_provisioning::network::Network;
use provisioning_core::domain::Country;
use provisioning_core::fault::Fault;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{UnixListener, UnixStream};
use zbus::Variant;

use super::fake::Play;
use super::{Lab, fault, within};

fn finland() -> Country {
    Country::try_from("FI").expect("two letters")
}

/// The helper takes one request.
async fn serve(helper: &UnixListener) -> String {
    let (mut connection, _): (UnixStream, _) = helper.accept().await.expect("a connection");
    let mut received = [0; 64];
    let length = connection.read(&mut received).await.expect("a request");
    connection.write_all(b"done\n").await.expect("the answer can be sent");
    String::from_utf8_lossy(&received[..length]).into_owned()
}

#[tokio::test]
async fn a_blocked_radio_needs_a_country_and_is_switched_on_with_one_once() {
    let Some(lab) = Lab::start().await else { return };
    let helper = UnixListener::bind(lab.place.path().join("radio")).expect("a socket");
    let block = || {
        let mut world = lab.fake.world();
        (world.wireless, world.state) = (false, 20);
    };
    block();
    assert_eq!(fault(within(lab.network.scan()).await), Some(Fault::CountryMissing));

    let switches = lab.place.path().join("rfkill");
    let kernel = async {
        while std::fs::read(&switches).expect("the device").is_empty() {
            tokio::task::yield_now().await;
        }
        (lab.fake.world().wireless, lab.fake.world().state) = (true, 30);
        lab.fake.play(&[(30, 0)]).await;
        serve(&helper).await
    };
    let (set, request) = tokio::join!(within(lab.network.set_country(finland())), kernel);
    set.expect("the block is lifted");
    assert_eq!(request, "wlan0 country FI\n");
    assert_eq!(std::fs::read(&switches).expect("the device"), [0, 0, 0, 0, 1, 3, 0, 0]);

    // The owner has switched it off.
    block();
    assert_eq!(fault(within(lab.network.set_country(finland())).await), Some(Fault::RadioBlocked));
    assert_eq!(std::fs::read(&switches).expect("the device").len(), 8);
}

#[tokio::test]
async fn a_country_that_is_set_is_not_set_again() {
    let Some(lab) = Lab::start().await else { return };
    let helper = UnixListener::bind(lab.place.path().join("radio")).expect("a socket");
    let (set, request) = tokio::join!(within(lab.network.set_country(finland())), serve(&helper));
    set.expect("the helper has answered");
    assert_eq!(request, "wlan0 country FI\n");
    within(lab.network.set_country(finland())).await.expect("nothing is asked");
    assert!(std::fs::read(lab.place.path().join("rfkill")).expect("the device").is_empty(), "nothing was blocked");
}

#[tokio::test]
async fn channels_that_need_a_country_or_a_band_may_not_be_used() {
    let Some(lab) = Lab::start().await else { return };
    for (frequency, may) in [(2412, true), (2462, true), (2467, false), (5180, false), (5500, false), (5955, false)] {
        assert_eq!(within(lab.network.may_use(frequency)).await, may, "{frequency} MHz without 5 GHz");
    }
    lab.fake.world().capabilities |= 0x400;
    assert!(within(lab.network.may_use(5180)).await);
    assert!(!within(lab.network.may_use(5500)).await, "a channel with radar");
}

#[tokio::test]
async fn a_full_router_is_told_by_the_supplicant() {
    let Some(lab) = Lab::start().await else { return };
    let builder = zbus::connection::Builder::address(lab.bus.address().as_str()).name("fi.w1.wpa_supplicant1");
    let supplicant = builder.build().await.expect("the name is free");
    lab.fake.world().plays.push_back(Play::secured(&[]));
    let refusing = async {
        lab.fake.until("the join is under way", |world| world.state == 50 && world.active.is_some()).await;
        let changed = HashMap::from([("AuthStatusCode", Variant::from(17_i32))]);
        let body = ("fi.w1.wpa_supplicant1.Interface", changed, Vec::<&str>::new());
        let (object, interface) = ("/fi/w1/wpa_supplicant1/Interfaces/0", "org.freedesktop.DBus.Properties");
        supplicant.emit_signal(None::<&str>, object, interface, "PropertiesChanged", &body).await.expect("a bus");
        // The bus has passed the signal on when it answers.
        let bus = zbus::fdo::DBusProxy::new(&supplicant).await.expect("a bus");
        bus.get_id().await.expect("it answers");
        lab.fake.play(&[(120, 53), (30, 0)]).await;
    };
    let (joined, ()) = tokio::join!(lab.join("HomeNetwork"), refusing);
    assert_eq!(fault(joined), Some(Fault::RouterFull));
}

#[tokio::test]
async fn a_radio_of_iwd_is_named() {
    let Some(lab) = Lab::start().await else { return };
    let builder = zbus::connection::Builder::address(lab.bus.address().as_str()).name("net.connman.iwd");
    let _iwd = builder.build().await.expect("the name is free");
    let error = super::journal(lab.join("HomeNetwork").await);
    assert!(error.contains("wifi.backend=wpa_supplicant"), "{error}");
}
