//! Owns the meaning of every action on plain data: what will be observed once it has been carried out.

use crate::action::Action;
use crate::observed::Observed;

impl Observed {
    pub fn apply(&mut self, _action: &Action) {
        todo!()
    }
}
