//! What is sent, where to, and what counts as accepted.

use std::time::Duration;

use http::header::{CONTENT_TYPE, HeaderName, HeaderValue};
use http::{HeaderMap, Method};
use reqwest::Url;
use verifier::RequestId;

use crate::correlation::TraceIdLocation;
use crate::manifest::Manifest;
use crate::scenario::Load;
use crate::template::{MissingValue, Template, Values};

/// The placeholder that has another value for each request.
const REQUEST_ID: &str = "request.id";

/// What the load generator sends, and where to.
#[derive(Debug, Clone)]
pub struct LoadPlan {
    /// The service's address, such as `http://127.0.0.1:8080`.
    pub base_url: String,
    /// The HTTP method; one of those that a manifest can name.
    pub method: Method,
    /// The path, with its query.
    pub path: Template,
    /// The headers.
    pub headers: Vec<(HeaderName, Template)>,
    /// The body, if there is one.
    pub body: Option<Template>,
    /// The statuses that promise a trace.
    pub accept: Vec<u16>,
    /// How long an answer may take, its body included.
    pub timeout: Duration,
    /// Where the answer tells the trace id.
    pub trace_id: Option<TraceIdLocation>,
    /// The tag in the run's request ids.
    pub tag: u32,
    /// How many requests may wait for their answers at the same time. One that finds none free is
    /// sent late, and never left out.
    pub users: usize,
}

/// A plan that no request can be made from.
#[derive(Debug, thiserror::Error)]
pub enum PlanError {
    /// A placeholder was left without its value.
    #[error(transparent)]
    MissingValue(#[from] MissingValue),
    /// What is no URL.
    #[error("`{url}` is no URL to send requests to: {reason}")]
    Url {
        /// The text.
        url: String,
        /// Why it is none.
        reason: String,
    },
    /// What cannot be sent as a header.
    #[error("the header {name} cannot have the value {value:?}")]
    Header {
        /// The header's name.
        name: HeaderName,
        /// The value.
        value: String,
    },
}

impl LoadPlan {
    /// The plan to send a manifest's `[request]` as a scenario's `[load]` asks for, with the values of
    /// all placeholders but `{request.id}`.
    pub fn new(manifest: &Manifest, load: &Load, base_url: impl Into<String>, values: &Values, tag: u32) -> Self {
        let request = &manifest.request;
        let headers = request.headers.iter().map(|(name, value)| (name.clone(), value.bind(values)));
        Self {
            base_url: base_url.into(),
            method: request.method.clone(),
            path: request.path.bind(values),
            headers: headers.collect(),
            body: request.body.as_ref().map(|body| body.bind(values)),
            accept: request.accept.clone(),
            timeout: load.timeout,
            trace_id: manifest.correlation.response_trace_id.clone(),
            tag,
            users: load.users(),
        }
    }

    /// The request with this id.
    ///
    /// # Errors
    /// If a placeholder has no value, or a value cannot stand where it does. Both are seen with the
    /// first request already: ids are all alike.
    pub(super) fn request(&self, id: RequestId) -> Result<reqwest::Request, PlanError> {
        let values = Values::new().with(REQUEST_ID, id.to_string());
        let mut request = reqwest::Request::new(self.method.clone(), self.url(&values)?);
        *request.headers_mut() = self.rendered_headers(&values)?;
        *request.body_mut() = self.body.as_ref().map(|body| body.render(&values)).transpose()?.map(Into::into);
        Ok(request)
    }

    fn url(&self, values: &Values) -> Result<Url, PlanError> {
        let url = format!("{}{}", self.base_url.trim_end_matches('/'), self.path.render(values)?);
        Url::parse(&url).map_err(|error| PlanError::Url { url, reason: error.to_string() })
    }

    fn rendered_headers(&self, values: &Values) -> Result<HeaderMap, PlanError> {
        let mut headers = HeaderMap::new();
        if self.body.is_some() {
            headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
        }
        for (name, value) in &self.headers {
            let value = value.render(values)?;
            let parsed = HeaderValue::try_from(&value).map_err(|_| PlanError::Header { name: name.clone(), value })?;
            headers.insert(name, parsed);
        }
        Ok(headers)
    }

    /// Whether a status promises a trace.
    pub(super) fn accepts(&self, status: u16) -> bool {
        self.accept.contains(&status)
    }
}
