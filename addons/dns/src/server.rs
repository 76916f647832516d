//! A query, answered from the zone or by other name servers, and counted.

use std::time::Instant;

use hickory_server::net::runtime::Time;
use hickory_server::proto::op::{Header, HeaderCounts, MessageType, Metadata, OpCode, ResponseCode};
use hickory_server::proto::rr::{Name, Record, RecordType};
use hickory_server::server::{Request, RequestHandler, ResponseHandler, ResponseInfo};
use hickory_server::zone_handler::MessageResponseBuilder;

use crate::metrics::metrics;
use crate::upstream::Upstream;
use crate::zone::{Answer, Zone};

/// How many aliases are followed inside the cluster before it counts as a circle.
const ALIASES: usize = 8;

/// Answers queries.
#[derive(Debug)]
pub struct Responder {
    pub zone: Zone,
    pub upstream: Upstream,
}

/// What is sent back.
#[derive(Debug)]
struct Response {
    code: ResponseCode,
    authoritative: bool,
    answers: Vec<Record>,
    authority: Option<Record>,
    additionals: Vec<Record>,
}

impl Response {
    fn of(code: ResponseCode) -> Self {
        let (answers, additionals) = (Vec::new(), Vec::new());
        Self { code, authoritative: false, answers, authority: None, additionals }
    }
}

impl Responder {
    async fn respond(&self, name: &Name, kind: RecordType) -> Response {
        if self.zone.holds(name) && !self.zone.is_known() {
            return Response::of(ResponseCode::ServFail);
        }
        let mut aliases = Vec::new();
        let mut wanted = name.clone();
        let mut response = loop {
            match self.zone.answer(&wanted, kind) {
                Answer::Alias(record, target) => {
                    aliases.push(*record);
                    if kind == RecordType::CNAME || aliases.len() > ALIASES {
                        break Response { authoritative: true, ..Response::of(ResponseCode::NoError) };
                    }
                    wanted = target;
                }
                Answer::Foreign => break self.ask(&wanted, kind).await,
                answer => break self.own(answer),
            }
        };
        if !aliases.is_empty() {
            // The alias itself is known, whatever is known of its target.
            response.code = ResponseCode::NoError;
            response.authoritative = true;
            aliases.append(&mut response.answers);
            response.answers = aliases;
        }
        response
    }

    fn own(&self, answer: Answer) -> Response {
        let (code, records) = match answer {
            Answer::Records { answers, additionals } => (ResponseCode::NoError, Some((answers, additionals))),
            Answer::NoName => (ResponseCode::NXDomain, None),
            Answer::NoData | Answer::Alias(..) | Answer::Foreign => (ResponseCode::NoError, None),
        };
        let authority = records.is_none().then(|| self.zone.authority());
        let (mut answers, additionals) = records.unwrap_or_default();
        // Clients take the first address: each gets another one.
        if answers.len() > 1 {
            let first = fastrand::usize(..answers.len());
            answers.rotate_left(first);
        }
        Response { code, authoritative: true, answers, authority, additionals }
    }

    async fn ask(&self, name: &Name, kind: RecordType) -> Response {
        let reply = self.upstream.ask(name.clone(), kind).await;
        Response { answers: reply.answers, authority: reply.authority, ..Response::of(reply.code) }
    }
}

#[async_trait::async_trait]
impl RequestHandler for Responder {
    async fn handle_request<R: ResponseHandler, T: Time>(
        &self,
        request: &Request,
        mut handle: R,
    ) -> ResponseInfo {
        let started = Instant::now();
        let protocol = request.protocol().to_string().to_lowercase();
        let query = (request.metadata.message_type == MessageType::Query
            && request.metadata.op_code == OpCode::Query)
            .then(|| request.request_info().ok())
            .flatten()
            .map(|info| (info.query.original().name().clone(), info.query.query_type()));
        let (response, kind) = match &query {
            Some((name, kind)) => (self.respond(name, *kind).await, kind.to_string()),
            None if request.metadata.op_code != OpCode::Query => {
                (Response::of(ResponseCode::NotImp), "other".to_owned())
            }
            None => (Response::of(ResponseCode::FormErr), "other".to_owned()),
        };
        let metrics = metrics();
        let zone = match &query {
            Some((name, _)) if self.zone.holds(name) => self.zone.domain().to_string(),
            _ => ".".to_owned(),
        };
        metrics.requests.with_label_values(&[&protocol, &kind, &zone]).inc();
        metrics.responses.with_label_values(&[response.code.to_str(), &zone]).inc();
        let mut metadata = Metadata::response_from_request(&request.metadata);
        metadata.response_code = response.code;
        metadata.authoritative = response.authoritative;
        metadata.recursion_available = true;
        let mut builder = MessageResponseBuilder::from_message_request(request);
        let edns = request.edns.clone();
        if let Some(edns) = &edns {
            builder.edns(edns);
        }
        let message = builder.build(
            metadata,
            response.answers.iter(),
            response.authority.iter(),
            [].iter(),
            response.additionals.iter(),
        );
        let sent = handle.send_response(message).await;
        metrics.duration.with_label_values(&[&zone]).observe(started.elapsed().as_secs_f64());
        sent.unwrap_or_else(|error| {
            tracing::debug!(client = %request.src(), error = daemon::logging::error_chain(&error), "Cannot answer");
            metadata.response_code = ResponseCode::ServFail;
            ResponseInfo::from(Header { metadata, counts: HeaderCounts::default() })
        })
    }
}
