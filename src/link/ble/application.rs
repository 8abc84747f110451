//! The service as `BlueZ` is shown it: what each characteristic allows, and what becomes of a read or a write.

use std::sync::{Mutex, PoisonError};

use bluer::gatt::local::{
    Application, Characteristic, CharacteristicControl, CharacteristicNotify, CharacteristicNotifyMethod, CharacteristicRead,
    CharacteristicWrite, CharacteristicWriteMethod, ReqError, ReqResult, Service, characteristic_control,
};
use bluer::{Address, Uuid};
use tokio::sync::{mpsc, oneshot};

use crate::daemon::Handle;
use crate::link::{ENDPOINTS, Endpoint, SERVICE};
use crate::wire::PublicStatus;
use crate::wire::framing::VALUE_LIMIT;

/// Writes that may wait; more make the phones wait.
const WRITE_QUEUE: usize = 64;

/// A value that a phone wrote. It waits for the answer.
#[derive(Debug)]
pub(super) struct Written {
    pub(super) address: Address,
    pub(super) endpoint: Endpoint,
    pub(super) value: Vec<u8>,
    pub(super) answer: oneshot::Sender<ReqResult<()>>,
}

/// The service, and what happens to it once it is registered.
pub(super) struct Published {
    pub(super) application: Application,
    pub(super) subscriptions: CharacteristicControl,
    pub(super) writes: mpsc::Receiver<Written>,
}

/// Makes the service: the same one every time, because phones remember what they found.
pub(super) fn publish(handle: &Handle) -> Published {
    let (sender, writes) = mpsc::channel(WRITE_QUEUE);
    let (subscriptions, control) = characteristic_control();
    let mut control = Some(control);
    let characteristics = ENDPOINTS
        .iter()
        .map(|row| {
            let mut characteristic = Characteristic { uuid: Uuid::from_u128(row.uuid), ..Characteristic::default() };
            if matches!(row.endpoint, Endpoint::Info | Endpoint::Status) {
                characteristic.read = Some(read(row.endpoint, handle.clone()));
            }
            if row.limit > 0 {
                characteristic.write = Some(write(row.endpoint, sender.clone()));
            }
            if row.endpoint == Endpoint::Status {
                let method = CharacteristicNotifyMethod::Io;
                characteristic.notify = Some(CharacteristicNotify { notify: true, method, ..CharacteristicNotify::default() });
                characteristic.control_handle = control.take().expect("one row is that of the status");
            }
            characteristic
        })
        .collect();
    let service = Service { uuid: Uuid::from_u128(SERVICE), primary: true, characteristics, ..Service::default() };
    Published { application: Application { services: vec![service], ..Application::default() }, subscriptions, writes }
}

fn read(endpoint: Endpoint, handle: Handle) -> CharacteristicRead {
    let snapshot = Snapshot::default();
    let value = move || {
        let view = handle.view();
        if endpoint == Endpoint::Info { view.info.encode() } else { PublicStatus::from(&view.status).encode() }
    };
    CharacteristicRead {
        read: true,
        fun: Box::new(move |request| {
            let part = snapshot.part(request.device_address, request.offset.into(), &value);
            Box::pin(std::future::ready(part))
        }),
        ..CharacteristicRead::default()
    }
}

fn write(endpoint: Endpoint, writes: mpsc::Sender<Written>) -> CharacteristicWrite {
    CharacteristicWrite {
        write: true,
        write_without_response: true,
        // Not `Io`: its socket belongs to the characteristic and outlives a connection, so that the writes of two phones
        // could not be told apart. A call names the phone.
        method: CharacteristicWriteMethod::Fun(Box::new(move |value, request| {
            let writes = writes.clone();
            Box::pin(async move {
                if request.prepare_authorize {
                    return Ok(());
                }
                if request.offset != 0 {
                    return Err(ReqError::InvalidOffset);
                }
                if value.len() > VALUE_LIMIT {
                    return Err(ReqError::InvalidValueLength);
                }
                let (answer, answered) = oneshot::channel();
                let written = Written { address: request.device_address, endpoint, value, answer };
                writes.send(written).await.map_err(|_| ReqError::Failed)?;
                answered.await.map_err(|_| ReqError::Failed)?
            })
        })),
        ..CharacteristicWrite::default()
    }
}

/// The value that a phone is reading in parts, so that they are parts of one value. The last reader's is kept; who is
/// interrupted by another reader goes on in the value as it is then.
#[derive(Debug, Default)]
struct Snapshot(Mutex<Option<(Address, Vec<u8>)>>);

impl Snapshot {
    fn part(&self, reader: Address, offset: usize, value: impl Fn() -> Vec<u8>) -> ReqResult<Vec<u8>> {
        let mut kept = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let begins = offset == 0 || kept.as_ref().is_none_or(|(address, _)| *address != reader);
        if begins {
            *kept = Some((reader, value()));
        }
        let whole = kept.as_ref().map_or(&[][..], |(_, value)| value);
        whole.get(offset..).map(<[u8]>::to_vec).ok_or(ReqError::InvalidOffset)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PHONE: Address = Address::new([1; 6]);
    const OTHER: Address = Address::new([2; 6]);

    #[test]
    fn a_value_that_is_read_in_parts_does_not_change_in_between() {
        let snapshot = Snapshot::default();
        assert_eq!(snapshot.part(PHONE, 0, || vec![1, 2, 3]), Ok(vec![1, 2, 3]));
        assert_eq!(snapshot.part(PHONE, 2, || vec![9, 9, 9]), Ok(vec![3]));
        assert_eq!(snapshot.part(PHONE, 3, || vec![9, 9, 9]), Ok(vec![]));
        assert_eq!(snapshot.part(PHONE, 0, || vec![9, 9, 9]), Ok(vec![9, 9, 9]));
    }

    #[test]
    fn an_offset_beyond_the_value_is_refused() {
        assert_eq!(Snapshot::default().part(PHONE, 4, || vec![1, 2, 3]), Err(ReqError::InvalidOffset));
    }

    #[test]
    fn another_reader_gets_its_own_value() {
        let snapshot = Snapshot::default();
        assert_eq!(snapshot.part(PHONE, 0, || vec![1, 2]), Ok(vec![1, 2]));
        assert_eq!(snapshot.part(OTHER, 1, || vec![3, 4]), Ok(vec![4]));
    }
}
