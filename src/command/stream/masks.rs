//! Masking of the events of a stream, as configured.

use std::rc::Rc;

use super::Stream;
use crate::event::Event;
use crate::event::masked::Masks;

impl Stream {
    /// Masks everything from now on.
    pub(super) fn mask(&mut self, masks: Option<Rc<Masks>>) {
        self.masks = masks;
        if let Some(reader) = &mut self.runner {
            reader.mask(self.masks.clone());
        }
        self.mask_run();
    }

    /// Masks the run, under whose playbook its end is recorded.
    pub(super) fn mask_run(&mut self) {
        if let Some(masks) = &self.masks {
            self.run = masks.run(&self.run);
        }
    }

    /// Masks the end of a run again: its reason may come from Ansible's output.
    pub(super) fn mask_end(&self, event: &mut Event) {
        if let (Some(masks), Some(_)) = (&self.masks, &event.end) {
            masks.apply(event);
        }
    }
}
