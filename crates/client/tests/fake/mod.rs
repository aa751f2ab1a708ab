//! A coordinator that says what a test wants, byte for byte.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::{Arc, Mutex};

/// What was asked.
#[derive(Debug, Clone)]
pub(crate) struct Request {
    /// `POST /v1/sessions/x/stop?wait=1ms`, exactly as it was on the wire.
    pub(crate) line: String,
    headers: Vec<(String, String)>,
    /// The body, as text.
    pub(crate) body: String,
}

#[allow(dead_code, reason = "each test binary uses a part of it")]
impl Request {
    /// A header, by its name in lower case.
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(key, _)| key == name).map(|(_, value)| value.as_str())
    }
}

/// What is answered.
#[derive(Debug, Clone)]
#[allow(dead_code, reason = "each test binary uses a part of it")]
pub(crate) enum Reply {
    /// A status and a body.
    Json(u16, String),
    /// A stream of server-sent events, cut off behind them.
    Events(String),
    /// The connection ends without an answer.
    Cut,
}

#[allow(dead_code, reason = "each test binary uses a part of it")]
impl Reply {
    /// A 200 with this body.
    pub(crate) fn ok(body: impl ToString) -> Self {
        Self::Json(200, body.to_string())
    }

    /// A session that is not there.
    pub(crate) fn no_session(id: &str) -> Self {
        let problem = greenroom_client::not_found("session", id);
        Self::Json(404, serde_json::to_string(&problem).expect("JSON"))
    }
}

/// A coordinator that says what a test wants.
#[derive(Debug)]
pub(crate) struct Fake {
    /// Where it listens.
    pub(crate) url: String,
    asked: Arc<Mutex<Vec<Request>>>,
}

impl Fake {
    /// Answers each request; `n` counts those before it.
    pub(crate) fn start(answer: impl Fn(&Request, usize) -> Reply + Send + Sync + 'static) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        let url = format!("http://{}", listener.local_addr().expect("an address"));
        let asked = Arc::new(Mutex::new(Vec::new()));
        let (seen, answer) = (Arc::clone(&asked), Arc::new(answer));
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let (seen, answer) = (Arc::clone(&seen), Arc::clone(&answer));
                std::thread::spawn(move || serve(stream, &seen, &*answer));
            }
        });
        Self { url, asked }
    }

    /// Everything that was asked.
    pub(crate) fn asked(&self) -> Vec<Request> {
        self.asked.lock().expect("no panic").clone()
    }

    /// The request lines of everything that was asked.
    #[allow(dead_code, reason = "each test binary uses a part of it")]
    pub(crate) fn lines(&self) -> Vec<String> {
        self.asked().into_iter().map(|request| request.line).collect()
    }
}

fn serve(stream: TcpStream, seen: &Mutex<Vec<Request>>, answer: &dyn Fn(&Request, usize) -> Reply) {
    let mut reader = BufReader::new(stream.try_clone().expect("a handle"));
    let Some(request) = read(&mut reader) else { return };
    let reply = {
        let mut seen = seen.lock().expect("no panic");
        seen.push(request.clone());
        let before = seen.len() - 1;
        drop(seen);
        answer(&request, before)
    };
    let mut stream = stream;
    let text = match reply {
        Reply::Json(204, _) => "HTTP/1.1 204 No Content\r\nconnection: close\r\n\r\n".to_owned(),
        Reply::Json(status, body) => {
            let kind = if status < 400 { "application/json" } else { "application/problem+json" };
            format!(
                "HTTP/1.1 {status} X\r\ncontent-type: {kind}\r\ncontent-length: {}\r\nconnection: close\r\n\r\n{body}",
                body.len()
            )
        }
        Reply::Events(events) => {
            format!(
                "HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\nconnection: close\r\n\r\n{events}"
            )
        }
        Reply::Cut => return,
    };
    // A client that has gone is part of some tests.
    let _ = stream.write_all(text.as_bytes());
}

fn read(reader: &mut impl BufRead) -> Option<Request> {
    let mut lines = Vec::new();
    loop {
        let mut line = String::new();
        if reader.read_line(&mut line).ok()? == 0 {
            return None;
        }
        let line = line.trim_end().to_owned();
        if line.is_empty() {
            break;
        }
        lines.push(line);
    }
    let line = lines.first()?.strip_suffix(" HTTP/1.1")?.to_owned();
    let header = |line: &String| {
        let (key, value) = line.split_once(':')?;
        Some((key.to_ascii_lowercase(), value.trim().to_owned()))
    };
    let headers: Vec<(String, String)> = lines[1..].iter().filter_map(header).collect();
    let value =
        |name: &str| headers.iter().find(|(key, _)| key == name).map(|(_, value)| value.clone());
    let mut body = Vec::new();
    if value("transfer-encoding").is_some() {
        loop {
            let mut size = String::new();
            reader.read_line(&mut size).ok()?;
            let size = u64::from_str_radix(size.trim(), 16).ok()?;
            reader.take(size + 2).read_to_end(&mut body).ok()?;
            body.truncate(body.len() - 2);
            if size == 0 {
                break;
            }
        }
    } else if let Some(length) = value("content-length") {
        reader.take(length.parse().ok()?).read_to_end(&mut body).ok()?;
    }
    Some(Request { line, headers, body: String::from_utf8_lossy(&body).into_owned() })
}
