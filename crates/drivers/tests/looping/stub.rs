//! A server that says what a test wants, byte for byte.

use std::collections::VecDeque;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use serde_json::Value;

/// A piece of an answer.
#[derive(Debug, Clone)]
pub(crate) enum Step {
    /// These bytes, at once and alone.
    Bytes(Vec<u8>),
    /// Nothing more until the other side hangs up.
    Hang,
    /// The connection is reset.
    Reset,
}

/// A request, as it came.
#[derive(Debug, Clone)]
pub(crate) struct Request {
    pub(crate) method: String,
    pub(crate) path: String,
    pub(crate) headers: Vec<(String, String)>,
    pub(crate) body: Value,
}

impl Request {
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(n, _)| n == name).map(|(_, value)| value.as_str())
    }
}

type Answer = Vec<Step>;
type Route = (String, Answer);

#[derive(Default)]
struct State {
    /// Answers by the beginning of a path, which stay; and the ones that are given once each.
    routes: Vec<Route>,
    script: VecDeque<Answer>,
    requests: Vec<Request>,
}

/// The server. It lives as long as the process.
#[derive(Clone)]
pub(crate) struct Stub {
    pub(crate) url: String,
    state: Arc<Mutex<State>>,
    hung_up: Arc<Mutex<Receiver<()>>>,
}

impl Stub {
    pub(crate) fn new(script: impl IntoIterator<Item = Answer>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        let url = format!("http://{}", listener.local_addr().expect("an address"));
        let state = Arc::new(Mutex::new(State::default()));
        state.lock().expect("lock").script.extend(script);
        let (say, hung_up) = channel();
        let serving = Arc::clone(&state);
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let (state, say) = (Arc::clone(&serving), say.clone());
                std::thread::spawn(move || serve(stream, &state, &say));
            }
        });
        Self { url, state, hung_up: Arc::new(Mutex::new(hung_up)) }
    }

    pub(crate) fn push(&self, answer: Answer) {
        self.state.lock().expect("lock").script.push_back(answer);
    }

    /// Whatever begins with this path is answered so, always.
    pub(crate) fn route(&self, path: &str, answer: Answer) {
        self.state.lock().expect("lock").routes.push((path.to_owned(), answer));
    }

    pub(crate) fn requests(&self) -> Vec<Request> {
        self.state.lock().expect("lock").requests.clone()
    }

    /// Bodies of what was asked of the model.
    pub(crate) fn bodies(&self) -> Vec<Value> {
        let requests = self.requests();
        let asked =
            requests.into_iter().filter(|r| r.method == "POST" && !r.path.contains("/sessions"));
        asked.map(|request| request.body).collect()
    }

    /// Waits until the other side has hung up on an answer that hangs.
    pub(crate) fn hung_up(&self) -> bool {
        self.hung_up.lock().expect("lock").recv_timeout(Duration::from_secs(20)).is_ok()
    }
}

fn read(stream: &mut BufReader<TcpStream>) -> Option<Request> {
    let mut line = String::new();
    stream.read_line(&mut line).ok().filter(|n| *n > 0)?;
    let mut words = line.split_whitespace();
    let (method, path) = (words.next()?.to_owned(), words.next()?.to_owned());
    let mut headers = Vec::new();
    loop {
        let mut line = String::new();
        stream.read_line(&mut line).ok()?;
        let Some((name, value)) = line.trim_end().split_once(':') else { break };
        headers.push((name.to_ascii_lowercase(), value.trim().to_owned()));
    }
    let length = headers.iter().find(|(name, _)| name == "content-length");
    let length = length.and_then(|(_, value)| value.parse().ok()).unwrap_or(0);
    let mut body = vec![0; length];
    stream.read_exact(&mut body).ok()?;
    let body = serde_json::from_slice(&body).unwrap_or(Value::Null);
    Some(Request { method, path, headers, body })
}

fn serve(stream: TcpStream, state: &Mutex<State>, hung_up: &Sender<()>) {
    stream.set_nodelay(true).expect("nodelay");
    let mut reader = BufReader::new(stream.try_clone().expect("a clone"));
    let mut stream = stream;
    let Some(request) = read(&mut reader) else { return };
    let answer = {
        let mut state = state.lock().expect("lock");
        let path = request.path.clone();
        state.requests.push(request);
        let route = state.routes.iter().find(|(prefix, _)| path.starts_with(prefix));
        match route.map(|(_, answer)| answer.clone()) {
            Some(answer) => answer,
            None => {
                state.script.pop_front().unwrap_or_else(|| status(599, &[], "the script is over"))
            }
        }
    };
    for step in answer {
        match step {
            Step::Bytes(bytes) => {
                if stream.write_all(&bytes).and_then(|()| stream.flush()).is_err() {
                    let _ = hung_up.send(());
                    return;
                }
            }
            Step::Hang => {
                let _ = reader.read(&mut [0]);
                let _ = hung_up.send(());
                return;
            }
            Step::Reset => {
                let none = Some(Duration::ZERO);
                rustix::net::sockopt::set_socket_linger(&stream, none).expect("linger");
                return;
            }
        }
    }
}

/// An answer of these events, each a chunk of its own.
pub(crate) fn stream(events: &[String]) -> Answer {
    let mut steps = vec![head()];
    steps.extend(events.iter().map(|event| Step::Bytes(event.clone().into_bytes())));
    steps
}

/// The beginning of an answer whose end is the end of the connection.
pub(crate) fn head() -> Step {
    let head = "HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\nconnection: close\r\n\r\n";
    Step::Bytes(head.as_bytes().to_vec())
}

/// An answer with a status.
pub(crate) fn status(code: u16, headers: &[(&str, &str)], body: &str) -> Answer {
    let mut head = format!("HTTP/1.1 {code} Said\r\nconnection: close\r\n");
    for (name, value) in headers {
        head.push_str(&format!("{name}: {value}\r\n"));
    }
    head.push_str(&format!("content-length: {}\r\n\r\n{body}", body.len()));
    vec![Step::Bytes(head.into_bytes())]
}

/// A JSON answer.
pub(crate) fn json(code: u16, body: &Value) -> Answer {
    status(code, &[("content-type", "application/json")], &body.to_string())
}
