//! One verb, one file: an `Args` struct whose doc comments are the help, and one `run`.
//!
//! Must not know: how anything is written (`render`) or turned into text (`error`).

pub(crate) mod attach;
pub(crate) mod build;
pub(crate) mod builder;
pub(crate) mod bundle;
pub(crate) mod caches;
pub(crate) mod commit;
pub(crate) mod completion;
pub(crate) mod config;
pub(crate) mod container;
pub(crate) mod cp;
pub(crate) mod create;
pub(crate) mod down;
pub(crate) mod engine;
pub(crate) mod events;
pub(crate) mod exec;
pub(crate) mod export;
pub(crate) mod image;
pub(crate) mod images;
pub(crate) mod inspect;
pub(crate) mod kill;
pub(crate) mod lock;
pub(crate) mod login;
pub(crate) mod logout;
pub(crate) mod logs;
pub(crate) mod ls;
pub(crate) mod network;
pub(crate) mod oci;
pub(crate) mod pause;
pub(crate) mod plan;
pub(crate) mod port;
pub(crate) mod prune;
pub(crate) mod ps;
pub(crate) mod pull;
pub(crate) mod push;
pub(crate) mod restart;
pub(crate) mod rm;
pub(crate) mod run;
pub(crate) mod scale;
pub(crate) mod start;
pub(crate) mod stats;
pub(crate) mod stop;
pub(crate) mod system;
pub(crate) mod top;
pub(crate) mod unpause;
pub(crate) mod up;
pub(crate) mod version;
pub(crate) mod volume;
pub(crate) mod wait;

use hoist_client::Client;

use crate::error::Result;
use crate::render::Ui;
use crate::settings::Settings;

/// What every verb gets.
#[derive(Debug, Clone)]
pub(crate) struct Ctx {
    pub(crate) settings: Settings,
    pub(crate) ui: Ui,
}

impl Ctx {
    pub(crate) fn with_ui(&self, ui: Ui) -> Self {
        Self { ui, ..self.clone() }
    }

    /// The engine, started when none answers.
    pub(crate) async fn client(&self) -> Result<Client> {
        Ok(Client::connect(&self.settings.places).await?)
    }
}
