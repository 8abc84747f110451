//! One device, with its history.

use std::marker::PhantomData;

use super::devices::Device;
use crate::base::clock::Moment;
use crate::domain::history::{self, Event};
use crate::domain::permissions::Scope;
use crate::store::{Connection, Error, Operation, Statement};

/// Reads one device of a scope.
pub(crate) struct One<D> {
    pub(crate) id: String,
    scope: Scope,
    pub(crate) now: Moment,
    of: PhantomData<fn() -> D>,
}

impl<D> One<D> {
    pub(crate) const fn new(id: String, scope: Scope, now: Moment) -> Self {
        Self { id, scope, now, of: PhantomData }
    }
}

impl<D: Device> Operation for One<D> {
    /// The device and its events, the newest first; none if there is no such device in the scope.
    type Answer = Option<(D, Vec<Event>)>;

    async fn run(&self, connection: &mut Connection<'_>) -> Result<Self::Answer, Error> {
        let mut one = Statement::new("SELECT ");
        one.add(D::KIND.columns).add(" FROM ").add(D::KIND.devices).add(D::KIND.joins);
        one.add(" WHERE ").add(D::KIND.name).add(" = ").value(&self.id);
        if let Some((column, value)) = D::KIND.in_scope(&self.scope) {
            one.add(" AND ").add(column).add(" = ").value(value);
        }
        let Some(row) = connection.query(&one).await?.into_iter().next() else { return Ok(None) };
        let events = history::read(connection, D::OF, &self.id).await?;
        Ok(Some((D::from_row(&row, self.now)?, events)))
    }
}
