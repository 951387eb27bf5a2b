//! An exec process of a container.

use std::collections::BTreeMap;

use crate::handles::Handles;

#[derive(Debug, Clone)]
pub struct Exec<H: Handles> {
    pub id: String,
    pub container: String,
    pub command: Vec<String>,
    pub terms: H::Terms,
    pub started: bool,
    pub code: Option<i32>,
    pub handle: Option<H::Exec>,
}

impl<H: Handles> Exec<H> {
    pub fn new(id: String, container: String, command: Vec<String>, terms: H::Terms) -> Self {
        Self {
            id,
            container,
            command,
            terms,
            started: false,
            code: None,
            handle: None,
        }
    }
}

#[derive(Debug)]
pub(crate) struct Execs<H: Handles>(pub(crate) BTreeMap<String, Exec<H>>);

impl<H: Handles> Default for Execs<H> {
    fn default() -> Self {
        Self(BTreeMap::new())
    }
}

impl<H: Handles> Execs<H> {
    pub(crate) fn container_gone(&mut self, container: &str) {
        self.0.retain(|_, exec| exec.container != container);
    }
}
