//! Bodies of delivered events: they are dropped once per commit, because one statement for many rows costs less than
//! half of one for each.

use std::mem;
use std::rc::Rc;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use rusqlite::Connection;
use rusqlite::types::Value;

use super::deliveries::Mark;
use super::schema::drop_body;
use super::state::DeliveryState;

/// Deliveries that the current transaction has made, and whose events may need no body any more.
#[derive(Clone, Default)]
pub struct Delivered(Arc<Mutex<Vec<i64>>>);

impl Delivered {
    /// Notes the deliveries of a mark, unless their bodies are kept.
    pub fn note(&self, mark: &Mark) {
        if mark.state == DeliveryState::Delivered && !mark.keep_body {
            self.ids().extend(&mark.deliveries);
        }
    }

    /// Forgets what was noted: the transaction begins again.
    pub fn clear(&self) {
        self.ids().clear();
    }

    /// Drops the bodies of the events that no other destination needs. A mark that was undone changes nothing.
    pub fn drop_bodies(&self, connection: &Connection) -> rusqlite::Result<()> {
        let ids = mem::take(&mut *self.ids());
        if ids.is_empty() {
            return Ok(());
        }
        let values: Vec<Value> = ids.into_iter().map(Value::from).collect();
        connection
            .prepare_cached(drop_body!(
                "id IN (SELECT event FROM delivery WHERE id IN (SELECT value FROM rarray(?1)))
                 AND NOT EXISTS (SELECT 1 FROM delivery WHERE event = event.id AND state <> 1)"
            ))?
            .execute([Rc::new(values)])?;
        Ok(())
    }

    fn ids(&self) -> MutexGuard<'_, Vec<i64>> {
        // No change to the list can leave it half done.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
