//! What handlers share: their state, their errors, and how a request's words are read.

use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use hoist_api::{ErrorBody, ErrorKind};
use hoist_engine::{Handle, StepError, chain};
use serde::de::DeserializeOwned;

/// What a handler answers when it cannot do what it was asked.
#[derive(Debug)]
pub(crate) struct ApiError {
    pub(crate) status: StatusCode,
    kind: ErrorKind,
    message: String,
}

impl ApiError {
    pub(crate) fn of(kind: ErrorKind, message: impl Into<String>) -> Self {
        let status =
            StatusCode::from_u16(kind.status()).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        Self {
            status,
            kind,
            message: message.into(),
        }
    }

    pub(crate) fn with_status(status: StatusCode, message: impl Into<String>) -> Self {
        Self {
            status,
            kind: ErrorKind::of_status(status.as_u16()),
            message: message.into(),
        }
    }

    /// The request is malformed.
    pub(crate) fn bad(message: impl Into<String>) -> Self {
        Self::of(ErrorKind::Invalid, message)
    }

    /// The same, with the causes of the error.
    pub(crate) fn invalid(error: &dyn std::error::Error) -> Self {
        Self::bad(chain(error))
    }

    pub(crate) fn not_found(message: impl Into<String>) -> Self {
        Self::of(ErrorKind::NotFound, message)
    }
}

impl IntoResponse for ApiError {
    fn into_response(self) -> Response {
        (
            self.status,
            axum::Json(ErrorBody::new(self.kind, self.message)),
        )
            .into_response()
    }
}

impl From<StepError> for ApiError {
    fn from(error: StepError) -> Self {
        Self::of(error.kind, error.message)
    }
}

pub(crate) type ApiResult<T> = Result<T, ApiError>;

pub(crate) type App = axum::extract::State<Handle>;

/// Docker's truth: all but a few words.
pub(crate) fn flag(text: Option<&str>) -> bool {
    let text = text.unwrap_or_default().trim().to_lowercase();
    !matches!(text.as_str(), "" | "0" | "no" | "false" | "none")
}

/// Docker's clients and ours send the type, but it is not required.
pub(crate) fn decode<T: DeserializeOwned>(body: &[u8]) -> ApiResult<T> {
    serde_json::from_slice(body).map_err(|error| ApiError::bad(format!("invalid request: {error}")))
}
