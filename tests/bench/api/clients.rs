//! The clients that make the load: several connections of the administrator's, and work that many do at once.

use std::future::Future;
use std::time::{Duration, Instant};

use ::client::{Call, Client, Config};
use anyhow::Result;
use bytes::Bytes;
use futures::future::try_join_all;
use http::Method;

/// Connections that requests are spread over.
const CONNECTIONS: usize = 8;

pub const PROTOBUF: &str = "application/vnd.kubernetes.protobuf";

pub struct Clients {
    config: Config,
    pool: Vec<Client>,
}

impl Clients {
    pub fn new(config: Config) -> Result<Self> {
        let pool = (0..CONNECTIONS).map(|_| Client::new(config.clone())).collect::<Result<_, _>>()?;
        Ok(Self { config, pool })
    }

    /// One of the shared connections.
    pub fn of(&self, n: usize) -> &Client {
        &self.pool[n % self.pool.len()]
    }

    /// A connection of one's own.
    pub fn another(&self) -> Result<Client> {
        Ok(Client::new(self.config.clone())?)
    }

    /// So many workers at once, each with its number and connection; what they bring, together.
    pub async fn at_once<T, F>(&self, workers: usize, work: impl Fn(usize, Client) -> F) -> Result<Vec<T>>
    where
        F: Future<Output = Result<Vec<T>>> + Send + 'static,
        T: Send + 'static,
    {
        let tasks = (0..workers).map(|n| tokio::spawn(work(n, self.of(n).clone())));
        let mut all = Vec::new();
        for done in try_join_all(tasks).await? {
            all.extend(done?);
        }
        Ok(all)
    }
}

/// A request in protobuf.
pub fn protobuf(method: Method, path: impl Into<String>, body: Vec<u8>) -> Call {
    Call { content_type: PROTOBUF, accept: PROTOBUF, ..Call::with_body(method, path, Bytes::from(body)) }
}

/// Sends; the answer and how long it took.
pub async fn timed(client: &Client, call: &Call) -> Result<(Bytes, Duration)> {
    let began = Instant::now();
    let answer = client.send(call).await?;
    Ok((answer, began.elapsed()))
}
