//! What a phone with a session is told when network care refuses or fails.

use std::time::{Duration, UNIX_EPOCH};

use jarvis_provisioning::care::events::{Action, Events, KEPT, Level, News, Phase, REPLAYED};
use jarvis_provisioning::care::phones::serve;
use jarvis_provisioning::care::port::{Care, Ends, Error, Request};
use jarvis_provisioning::daemon::{CareCall, Handle};
use provisioning_core::domain::{
    CareReply, CareRequest, EventLevel, EventPhase, LayerVerdict, NewEvents, Passphrase, RecoveryState, Ssid,
};
use provisioning_core::fault::Fault;
use testing_node::caretaker::{fails, status, works};
use testing_node::scripted::view;
use tokio::sync::{mpsc, oneshot};

/// Sends a request to a scripted caretaker.
async fn ask(mut caretaker: impl FnMut(Request) + Send + 'static, request: CareRequest) -> Result<CareReply, Fault> {
    let (handle, _ends) = Handle::channel(1, view());
    let (care, Ends { mut requests, .. }) = Care::channel(status(), Events::new(|| UNIX_EPOCH), handle);
    let (calls, receiver) = mpsc::channel(1);
    let serving = tokio::spawn(serve(care, receiver));
    tokio::spawn(async move {
        while let Some(request) = requests.recv().await {
            caretaker(request);
        }
    });
    let (reply, answer) = oneshot::channel();
    calls.send(CareCall { request, reply }).await.expect("it serves");
    let answer = answer.await.expect("an answer");
    drop(calls);
    serving.await.expect("it ends with the loop");
    answer
}

fn home() -> Ssid {
    Ssid::try_from("HomeNetwork").expect("a short name")
}

#[tokio::test]
async fn every_request_of_a_phone_has_its_answer() {
    for request in [
        CareRequest::Join(home()),
        CareRequest::Connect {
            ssid: home(),
            passphrase: Passphrase::try_from("correct horse".to_owned()).expect("13 bytes"),
            hidden: true,
        },
        CareRequest::Forget("Attic".into()),
        CareRequest::Hotspot(true),
        CareRequest::Recover,
        CareRequest::Restart,
    ] {
        assert_eq!(ask(works, request.clone()).await, Ok(CareReply::Done), "{request:?}");
    }
    let Ok(CareReply::Status(status)) = ask(works, CareRequest::Status).await else { panic!("the state") };
    assert_eq!((status.connected, status.ssid, status.internet, status.hotspot), (true, Some(home()), true, false));
    assert_eq!(status.recovery, Some(RecoveryState::Ready));
    let Ok(CareReply::Saved(saved)) = ask(works, CareRequest::Saved).await else { panic!("a list") };
    assert_eq!((saved.len(), saved[1].name.as_str(), saved[1].autoconnect), (2, "Attic", false));
    let Ok(CareReply::Diagnosis(layers)) = ask(works, CareRequest::Diagnose).await else { panic!("a diagnosis") };
    assert_eq!((layers.len(), layers[0].verdict), (8, LayerVerdict::Ok));
    let Ok(CareReply::Events(new)) = ask(works, CareRequest::Events(String::new())).await else { panic!("the events") };
    assert_eq!(new, NewEvents::default());
}

#[tokio::test]
async fn a_phone_gets_every_event_once_or_is_told_of_a_gap() {
    let (handle, _ends) = Handle::channel(1, view());
    let (care, Ends { events, .. }) = Care::channel(status(), Events::new(|| UNIX_EPOCH), handle);
    let (calls, receiver) = mpsc::channel(1);
    tokio::spawn(serve(care, receiver));
    let after = async |id: &str| {
        let (reply, answer) = oneshot::channel();
        calls.send(CareCall { request: CareRequest::Events(id.into()), reply }).await.expect("it serves");
        let Ok(CareReply::Events(new)) = answer.await.expect("an answer") else { panic!("the events") };
        new
    };
    let happen = |number: usize| {
        let news = News::action(Action::Connect, Phase::Failed, Level::Error, number.to_string());
        events.publish(news).id.clone()
    };
    let messages = |new: &NewEvents| new.events.iter().map(|event| event.message.clone()).collect::<Vec<_>>();

    let ids: Vec<_> = (0..30).map(happen).collect();
    let first = after("").await;
    assert_eq!((messages(&first).first().map(String::as_str), first.events.len(), first.gap), (Some("5"), REPLAYED, false));
    let event = first.events.last().expect("the last one");
    assert_eq!((&event.id, event.level), (&ids[29], EventLevel::Error));
    assert_eq!(event.action, Some(("network.connect".into(), EventPhase::Failed)));
    assert_eq!(after(&ids[29]).await, NewEvents::default());
    happen(30);
    assert_eq!(messages(&after(&ids[29]).await), ["30"]);
    (31..31 + KEPT).for_each(|number| _ = happen(number));
    let late = after(&ids[29]).await;
    assert_eq!((late.events.len(), late.gap), (KEPT, true));
    let after_a_restart = after("99991231235959-000000").await;
    assert_eq!((after_a_restart.events.len(), after_a_restart.gap), (REPLAYED, true));
}

#[tokio::test]
async fn a_phone_is_told_by_a_fault_why_network_care_refuses() {
    for (error, fault) in [
        (Error::Failed(Fault::RadioBlocked), Fault::RadioBlocked),
        (Error::UnknownNetwork, Fault::NetworkNotFound),
        (Error::NoInternet, Fault::CommandCenterUnreachable),
        (Error::Provisioning, Fault::InProgress),
        (Error::Busy, Fault::InProgress),
        (Error::RecoveryInProgress, Fault::InProgress),
        (Error::RecoveryCooldown(UNIX_EPOCH + Duration::from_secs(1)), Fault::InProgress),
        (Error::RecoveryDisabled, Fault::Malformed),
    ] {
        assert_eq!(ask(fails(error.clone()), CareRequest::Recover).await, Err(fault), "{error:?}");
    }
}
