//! `prefold explain`: which view answers a query, or why none does.

use std::path::PathBuf;
use std::process::ExitCode;

use super::could_not_run;
use crate::model::time::{parse_instant, parse_seconds};
use crate::model::{Clock, Timestamp};
use crate::node::clock::SystemClock;
use crate::node::jobs;
use crate::promql::parse;
use crate::proxy::upstream::encode_form;
use crate::rewrite::{QueryTime, Question, explain, rewrite};

/// Says which view answers a query, or why none does.
#[derive(Clone, Debug, clap::Args)]
pub struct ExplainArgs {
    /// The query, in PromQL
    #[arg(allow_hyphen_values = true)]
    query: String,
    /// The directory of job files to look in
    #[arg(long, default_value = "./jobs", conflicts_with = "server")]
    jobs: PathBuf,
    /// A running Prefold to ask instead, such as http://127.0.0.1:9480
    #[arg(long)]
    server: Option<String>,
    /// First instant of a range query: RFC 3339 or Unix seconds
    #[arg(long, requires_all = ["end", "step"])]
    start: Option<String>,
    /// Last instant of a range query
    #[arg(long, requires = "start")]
    end: Option<String>,
    /// Step of a range query: a duration such as 30s, or seconds
    #[arg(long, requires = "start")]
    step: Option<String>,
    /// The instant of an instant query; without it and --start, a query on every grid
    #[arg(long, conflicts_with = "start")]
    time: Option<String>,
    /// The explanation as JSON
    #[arg(long)]
    json: bool,
}

/// How long a server may take to explain a query.
const SERVER_TIMEOUT: std::time::Duration = std::time::Duration::from_secs(30);

/// 0 when views answer the whole query, 1 when not, 2 for wrong usage, 3 when it could not be found out.
pub fn run(args: &ExplainArgs) -> ExitCode {
    if let Some(server) = &args.server {
        return ask(server, args);
    }
    let time = match query_time(args) {
        Ok(time) => time,
        Err(message) => {
            eprintln!("prefold explain: {message}");
            return ExitCode::from(2);
        }
    };
    let expr = match parse(&args.query) {
        Ok(expr) => expr,
        Err(error) => {
            eprintln!("prefold explain: {error}");
            return ExitCode::from(2);
        }
    };
    let loaded = match jobs::load(&args.jobs) {
        Ok(loaded) => loaded,
        Err(problems) => return could_not_run("explain", &problems),
    };
    let question = Question { expr: &expr, tenant: "", time, evaluation_interval_ms: None };
    let outcome = rewrite(&question, &loaded.catalog);
    let explanation = explain(&args.query, &outcome, &loaded.catalog);
    match args.json {
        true => println!("{}", serde_json::to_string(&explanation).unwrap_or_default()),
        false => println!("{explanation}"),
    }
    ExitCode::from(u8::from(!outcome.whole))
}

fn query_time(args: &ExplainArgs) -> Result<QueryTime, String> {
    let instant = |text: &Option<String>| text.as_deref().map(parse_instant).transpose();
    match (instant(&args.start)?, instant(&args.end)?, &args.step) {
        (Some(start), Some(end), Some(step)) => Ok(QueryTime::Range { start, end, step_ms: parse_seconds(step)? }),
        // Midnight is on the grid of every step that divides a day.
        _ => Ok(QueryTime::Instant(instant(&args.time)?.unwrap_or(Timestamp(0)))),
    }
}

fn ask(server: &str, args: &ExplainArgs) -> ExitCode {
    let time = args.time.clone().unwrap_or_else(|| SystemClock.now().seconds().to_string());
    let mut form = vec![("query", args.query.clone())];
    match (&args.start, &args.end, &args.step) {
        (Some(start), Some(end), Some(step)) => {
            form.extend([("start", start.clone()), ("end", end.clone()), ("step", step.clone())]);
        }
        _ => form.push(("time", time)),
    }
    let url = format!("{}/prefold/api/v1/explain?{}", server.trim_end_matches('/'), encode_form(&form));
    let answer = tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(|error| error.to_string());
    let answer = answer.and_then(|runtime| {
        runtime.block_on(async {
            let client = reqwest::Client::builder().no_proxy().timeout(SERVER_TIMEOUT).build();
            let request = client.map_err(|error| error.to_string())?.get(&url);
            let response = request.send().await.map_err(|error| format!("{error}; is it a running Prefold?"))?;
            response.text().await.map_err(|error| error.to_string())
        })
    });
    match answer.and_then(|text| serde_json::from_str::<serde_json::Value>(&text).map_err(|error| error.to_string())) {
        Ok(envelope) if envelope["status"] == "success" => told(&envelope["data"], args.json),
        Ok(envelope) => {
            eprintln!("prefold explain: {}", envelope["error"].as_str().unwrap_or("the server refused the question"));
            ExitCode::from(2)
        }
        Err(message) => could_not_run("explain", &message),
    }
}

/// What a server explained: as one line of JSON, or for people.
fn told(explanation: &serde_json::Value, json: bool) -> ExitCode {
    match json {
        true => println!("{explanation}"),
        false => println!("{}", explanation["text"].as_str().unwrap_or_default()),
    }
    ExitCode::from(u8::from(explanation["whole"] != true))
}
