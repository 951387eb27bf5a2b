//! Owns what every verb gets: the resolved options, the two streams, the way to the engine.

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
