//! A fake admin API: accounts in memory, recorded requests, and scripted failures.

use std::collections::HashMap;
use std::net::{SocketAddr, TcpListener};
use std::sync::{Arc, Mutex, MutexGuard};

use axum::body::Bytes;
use axum::extract::State;
use axum::http::{HeaderMap, Method, StatusCode, Uri};
use axum::response::{IntoResponse, Response};
use serde_json::{Value, json};
use tokio::sync::oneshot;

/// A received request.
#[derive(Clone, Debug)]
pub(crate) struct Request {
    pub(crate) method: Method,
    pub(crate) path: String,
    pub(crate) body: Value,
    pub(crate) authorization: Option<String>,
}

/// The script's answer to a request.
pub(crate) enum Verdict {
    /// Executes and answers it.
    Serve,
    /// Answers like this without executing it.
    Refuse(Response),
    /// Executes it, and answers like this.
    ServeAndAnswer(StatusCode),
}

type Script = Box<dyn Fn(usize, &Request) -> Verdict + Send>;

/// The server's state.
#[derive(Default)]
pub(crate) struct World {
    pub(crate) passwords: HashMap<String, String>,
    pub(crate) roles: HashMap<String, String>,
    /// Creations per account.
    pub(crate) made: HashMap<String, usize>,
    pub(crate) requests: Vec<Request>,
    script: Option<Script>,
    has_no_login: bool,
    /// Whether the server answers 200 in place of 201 and 204.
    says_200: bool,
}

/// A running server.
pub(crate) struct Server {
    pub(crate) address: SocketAddr,
    world: Arc<Mutex<World>>,
    stop: Option<oneshot::Sender<()>>,
    thread: Option<std::thread::JoinHandle<()>>,
}

impl Server {
    pub(crate) fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        listener.set_nonblocking(true).unwrap();
        let address = listener.local_addr().unwrap();
        let world = Arc::new(Mutex::new(World::default()));
        let (stop, stopped) = oneshot::channel();
        let served = world.clone();
        let thread = std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
            runtime.block_on(async move {
                let router = axum::Router::new().fallback(answer).with_state(served);
                let listener = tokio::net::TcpListener::from_std(listener).unwrap();
                tokio::select! {
                    served = async { axum::serve(listener, router).await } => served.unwrap(),
                    _ = stopped => {}
                }
            });
        });
        Self { address, world, stop: Some(stop), thread: Some(thread) }
    }

    pub(crate) fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    pub(crate) fn world(&self) -> MutexGuard<'_, World> {
        self.world.lock().unwrap()
    }

    /// Sets a script that decides about each request; the first has the number 0.
    pub(crate) fn script(&self, script: impl Fn(usize, &Request) -> Verdict + Send + 'static) {
        self.world().script = Some(Box::new(script));
    }

    pub(crate) fn serve_everything(&self) {
        self.world().script = None;
    }

    pub(crate) fn say_200(&self) {
        self.world().says_200 = true;
    }

    pub(crate) fn know_no_login(&self) {
        self.world().has_no_login = true;
    }

    /// Returns the requests as method and path, and clears the record.
    pub(crate) fn calls(&self) -> Vec<String> {
        let requests = std::mem::take(&mut self.world().requests);
        requests.iter().map(|request| format!("{} {}", request.method, request.path)).collect()
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.stop.take().expect("a server is stopped once").send(());
        let _ = self.thread.take().expect("a server is stopped once").join();
    }
}

async fn answer(State(world): State<Arc<Mutex<World>>>, method: Method, uri: Uri, headers: HeaderMap, body: Bytes) -> Response {
    let request = Request {
        method,
        path: uri.path().to_owned(),
        body: serde_json::from_slice(&body).unwrap_or_default(),
        authorization: headers.get("authorization").map(|value| value.to_str().unwrap().to_owned()),
    };
    let mut world = world.lock().unwrap();
    let number = world.requests.len();
    world.requests.push(request.clone());
    let verdict = world.script.as_ref().map_or(Verdict::Serve, |script| script(number, &request));
    match verdict {
        Verdict::Serve => world.serve(&request),
        Verdict::Refuse(response) => response,
        Verdict::ServeAndAnswer(status) => {
            world.serve(&request);
            status.into_response()
        }
    }
}

impl World {
    fn serve(&mut self, request: &Request) -> Response {
        let text = |name: &str| request.body[name].as_str().unwrap_or_default().to_owned();
        let (email, password) = (text("email"), text("password"));
        match (&request.method, request.path.as_str()) {
            (&Method::POST, "/users") => {
                if self.passwords.contains_key(&email) {
                    return StatusCode::CONFLICT.into_response();
                }
                *self.made.entry(email.clone()).or_default() += 1;
                self.roles.insert(email.clone(), text("role"));
                self.passwords.insert(email, password);
                if self.says_200 { StatusCode::OK } else { StatusCode::CREATED }.into_response()
            }
            (&Method::PATCH, "/users/password") => match self.passwords.get_mut(&email) {
                None => StatusCode::NOT_FOUND.into_response(),
                Some(stored) => {
                    *stored = password;
                    if self.says_200 { StatusCode::OK } else { StatusCode::NO_CONTENT }.into_response()
                }
            },
            (&Method::POST, "/login") if !self.has_no_login => {
                if self.passwords.get(&email).is_some_and(|stored| *stored == password) {
                    axum::Json(json!({"token": format!("jwt.of.{email}")})).into_response()
                } else {
                    StatusCode::UNAUTHORIZED.into_response()
                }
            }
            _ => StatusCode::NOT_FOUND.into_response(),
        }
    }
}
