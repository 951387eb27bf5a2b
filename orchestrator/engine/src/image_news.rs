//! What is told while images are pulled, pushed, loaded or made.

use hoist_image::{Progress, Pushed, Reference};

use crate::actions::StepError;
use crate::outbox::{Inbox, Kind, Outbox, Piece};

#[derive(Debug)]
pub enum ImageNews {
    Progress(Progress),
    Pulled {
        reference: Reference,
        up_to_date: bool,
    },
    Pushed {
        reference: Reference,
        pushed: Pushed,
    },
    /// One of an archive; there may be more.
    Loaded {
        name: String,
    },
    Created {
        reference: Reference,
        id: String,
    },
    Failed(StepError),
}

pub type ImageInbox = Inbox<ImageNews>;
pub(crate) type ImageOutbox = Outbox<ImageNews>;

impl Piece for ImageNews {
    fn kind(&self) -> Kind {
        match self {
            Self::Progress(progress) if !progress.item.is_empty() => {
                Kind::Latest(progress.item.clone())
            }
            _ => Kind::Kept,
        }
    }

    /// There is no output.
    fn left_out(_: u64) -> Option<Self> {
        None
    }
}
