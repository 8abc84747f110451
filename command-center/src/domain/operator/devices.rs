//! The operator's requests about devices.

use super::{Operator, OperatorError};
use crate::domain::fleet::cursor::Cursor;
use crate::domain::fleet::device::One;
use crate::domain::fleet::presence::{Count, compare};
use crate::domain::fleet::view::View;
use crate::domain::fleet::{ApplianceEntry, Counts, Device, Event, Filter, NodeEntry, Page, Query};
use crate::domain::permissions::Scope;

impl Operator {
    /// A part of a list of appliances.
    pub async fn appliances(&self, query: &Query) -> Result<Page<ApplianceEntry>, OperatorError> {
        self.devices(query).await
    }

    /// A part of a list of nodes.
    pub async fn nodes(&self, query: &Query) -> Result<Page<NodeEntry>, OperatorError> {
        self.devices(query).await
    }

    /// A part of a list of devices.
    pub(crate) async fn devices<D: Device>(&self, query: &Query) -> Result<Page<D>, OperatorError> {
        let Query { filter, order, after, limit } = query.clone();
        let Filter { place, partner, status, version, text, .. } = &filter;
        if [place, partner, status, version, text].into_iter().flatten().any(|text| text.contains('\0')) {
            return Err(OperatorError::Invalid("a filter contains no control characters"));
        }
        let limit = Some(limit).filter(|limit| (1..=Query::LARGEST).contains(limit)).unwrap_or(Query::LARGEST);
        let nowhere = OperatorError::Invalid("this is no place in this list");
        let after = match after.as_deref().map(Cursor::parse) {
            Some(None) => return Err(nowhere),
            Some(after) => after,
            None => None,
        };
        let limit = i64::try_from(limit).expect("a page is short");
        let view = View::new(filter, order, after, limit, self.clock.now()).ok_or(nowhere)?;
        Ok(self.store.read(view).await?)
    }

    /// A device of a scope and its events, the newest first.
    pub(crate) async fn device<D: Device>(&self, id: &str, scope: &Scope) -> Result<Option<(D, Vec<Event>)>, OperatorError> {
        Ok(self.store.read(One::new(id.to_owned(), scope.clone(), self.clock.now())).await?)
    }

    /// An appliance and its events, the newest first.
    pub async fn appliance(&self, id: &str) -> Result<(ApplianceEntry, Vec<Event>), OperatorError> {
        self.device(id, &Scope::All).await?.ok_or(OperatorError::UnknownAppliance)
    }

    /// A node and its events, the newest first.
    pub async fn node(&self, id: &str) -> Result<(NodeEntry, Vec<Event>), OperatorError> {
        self.device(id, &Scope::All).await?.ok_or(OperatorError::UnknownNode)
    }

    /// How many appliances there are in each state.
    pub async fn count_appliances(&self) -> Result<Counts, OperatorError> {
        self.count::<ApplianceEntry>(&Scope::All).await
    }

    /// How many nodes there are in each state.
    pub async fn count_nodes(&self) -> Result<Counts, OperatorError> {
        self.count::<NodeEntry>(&Scope::All).await
    }

    /// How many devices of a scope there are in each state.
    pub(crate) async fn count<D: Device>(&self, scope: &Scope) -> Result<Counts, OperatorError> {
        Ok(self.store.read(Count::<D>::new(scope.clone())).await?)
    }

    /// Finds the devices that have fallen silent or are heard of again. Servers do it all the time, some thousand devices at once.
    pub async fn find_silent(&self) -> Result<(), OperatorError> {
        let mut after = 0;
        while let next @ 1.. = compare::<ApplianceEntry>(&self.store, after, self.clock.now()).await? {
            after = next;
        }
        after = 0;
        while let next @ 1.. = compare::<NodeEntry>(&self.store, after, self.clock.now()).await? {
            after = next;
        }
        Ok(())
    }
}
