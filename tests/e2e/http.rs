//! The HTTP that tests speak: a query API request, and its answer kept byte for byte.

use std::time::Duration;

use serde_json::Value;

/// How parameters are sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Method {
    Get,
    Form,
}

/// An answer.
#[derive(Clone, Debug)]
pub struct Reply {
    pub status: u16,
    /// `X-Prefold-Answer`, empty when absent.
    pub answer: String,
    /// `X-Prefold-Reason`, empty when absent.
    pub reason: String,
    pub body: String,
}

impl Reply {
    /// The body as JSON.
    pub fn json(&self) -> Value {
        serde_json::from_str(&self.body).unwrap_or_else(|error| panic!("{error} in {}", self.body))
    }

    /// `data` of a successful answer.
    pub fn data(&self) -> Result<Value, String> {
        match self.status {
            200 => Ok(self.json()["data"].clone()),
            status => Err(format!("{status}: {}", self.body)),
        }
    }
}

/// A client of one server.
#[derive(Clone)]
pub struct Api {
    client: reqwest::Client,
    pub url: String,
}

/// The steps of a range query, in ms.
#[derive(Clone, Copy, Debug)]
pub struct Steps {
    pub from: i64,
    pub to: i64,
    pub step: i64,
}

impl Api {
    pub fn new(port: u16) -> Api {
        Api::at(&format!("http://127.0.0.1:{port}"))
    }

    pub fn at(url: &str) -> Api {
        Api { client: client(), url: url.to_owned() }
    }

    /// Another client of the same server: one client's connections belong to one runtime.
    pub fn again(&self) -> Api {
        Api::at(&self.url)
    }

    /// One request; an error is one of the connection, which may pass.
    pub async fn ask(&self, method: Method, path: &str, params: &[(&str, &str)]) -> Result<Reply, String> {
        let form = encoded(params);
        let request = match method {
            Method::Get => self.client.get(format!("{}{path}?{form}", self.url)),
            Method::Form => {
                let request = self.client.post(format!("{}{path}", self.url));
                request.header("Content-Type", "application/x-www-form-urlencoded").body(form)
            }
        };
        let answer = request.send().await.map_err(|error| error.to_string())?;
        let header = |name| {
            let value = answer.headers().get(name).and_then(|value| value.to_str().ok());
            value.unwrap_or_default().to_owned()
        };
        let (answer_header, reason) = (header("x-prefold-answer"), header("x-prefold-reason"));
        let status = answer.status().as_u16();
        let body = answer.text().await.map_err(|error| error.to_string())?;
        Ok(Reply { status, answer: answer_header, reason, body })
    }

    pub async fn range(&self, method: Method, query: &str, steps: Steps, more: &[(&str, &str)]) -> Result<Reply, String> {
        let (start, end, step) = (seconds(steps.from), seconds(steps.to), seconds(steps.step));
        let mut params = vec![("query", query), ("start", &start), ("end", &end), ("step", &step)];
        params.extend(more);
        self.ask(method, "/api/v1/query_range", &params).await
    }

    pub async fn instant(&self, method: Method, query: &str, at: i64, more: &[(&str, &str)]) -> Result<Reply, String> {
        let time = seconds(at);
        let mut params = vec![("query", query), ("time", &time)];
        params.extend(more);
        self.ask(method, "/api/v1/query", &params).await
    }
}

fn client() -> reqwest::Client {
    reqwest::Client::builder().no_proxy().timeout(Duration::from_secs(30)).build().unwrap()
}

/// Milliseconds as seconds.
pub fn seconds(ms: i64) -> String {
    format!("{}.{:03}", ms / 1000, ms % 1000)
}

fn encoded(params: &[(&str, &str)]) -> String {
    let pair = |(name, value): &(&str, &str)| format!("{}={}", percent(name), percent(value));
    params.iter().map(pair).collect::<Vec<_>>().join("&")
}

fn percent(text: &str) -> String {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-._~".contains(&byte);
    text.bytes().map(|byte| if plain(byte) { (byte as char).to_string() } else { format!("%{byte:02X}") }).collect()
}
