//! Doors: the HTTP shapes of other systems, over the same sessions.
//!
//! A door translates a request, calls the service, and translates the answer back. It has no
//! rules of its own about sessions: what it must keep beside them (registries, hooks, what a
//! foreign client said of itself) are its records in the store.

mod docker_agent;
mod foundry;
mod orchestrator;
mod records;

pub(crate) use self::orchestrator::State as OrchestratorState;
pub(crate) use self::orchestrator::{is_ours as told_by_orchestrator, tell as tell_orchestrator};

use std::collections::BTreeSet;
use std::future::ready;
use std::sync::Arc;

use axum::Router;
use axum::extract::Request;
use axum::middleware;
use axum::response::Response;
use greenroom_protocol::Problem;
use http::HeaderValue;
use tower_http::cors::{AllowHeaders, AllowMethods, AllowOrigin, CorsLayer, ExposeHeaders};

use crate::api::plain_refusals_become_problems;
use crate::app::App;
use crate::error::problem_response;
use crate::guard::Guests;

/// A system whose clients come in.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Door {
    /// Hosted-agent sessions: `azd ai agent`, `azure-ai-projects`.
    Foundry,
    /// The agent orchestrator: its runner, its dashboard.
    Orchestrator,
    /// docker-agent's `serve api`.
    DockerAgent,
}

/// The doors that are open.
pub type Doors = BTreeSet<Door>;

impl Door {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::Foundry, Self::Orchestrator, Self::DockerAgent];

    /// Its name on the command line, and the first part of its paths.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Foundry => "foundry",
            Self::Orchestrator => "orchestrator",
            Self::DockerAgent => "docker-agent",
        }
    }

    fn routes(self) -> Router<Arc<App>> {
        match self {
            Self::Foundry => foundry::routes(),
            Self::Orchestrator => orchestrator::routes(),
            Self::DockerAgent => docker_agent::routes(),
        }
    }

    /// A refusal, as this door's clients read one.
    fn refusal(self, problem: &Problem) -> Response {
        match self {
            Self::Foundry => foundry::refusal(problem),
            Self::Orchestrator => orchestrator::refusal(problem),
            Self::DockerAgent => docker_agent::refusal(problem),
        }
    }
}

impl std::str::FromStr for Door {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        Self::ALL.into_iter().find(|door| door.as_str() == text).ok_or_else(|| {
            let known = Self::ALL.map(Self::as_str).join(", ");
            format!("there is no door {text:?}: {known}")
        })
    }
}

/// The routes of the doors that are open, each beneath a prefix of its own.
pub(crate) fn routes(open: &Doors, origins: &[HeaderValue]) -> Router<Arc<App>> {
    // Never with cookies: a page of another origin brings a token.
    let pages = CorsLayer::new()
        .allow_origin(AllowOrigin::list(origins.iter().cloned()))
        .allow_methods(AllowMethods::mirror_request())
        .allow_headers(AllowHeaders::mirror_request())
        .expose_headers(ExposeHeaders::any());
    open.iter().fold(Router::new(), |router, door| {
        let door = *door;
        let routes = door
            .routes()
            .fallback(no_route)
            .layer(middleware::map_response(plain_refusals_become_problems))
            .layer(middleware::map_response(move |response| ready(spoken(door, response))));
        // Without such pages, preflights are what they are: requests without a token.
        let routes = match origins {
            [] => routes,
            _ => routes.layer(pages.clone()),
        };
        router.nest(&format!("/{}", door.as_str()), routes)
    })
}

/// Pages of these origins may come in by the doors that are open.
pub(crate) fn guests(open: &Doors, origins: &[HeaderValue]) -> Guests {
    let beneath = open.iter().map(|door| door.as_str()).collect();
    Guests { origins: origins.to_vec(), beneath }
}

async fn no_route(request: Request) -> Response {
    let path: String = request.uri().path().chars().take(200).collect();
    problem_response(&Problem::new(404, "route_not_found", format!("nothing is at {path:?}")))
}

/// Starts what the doors that are open do by themselves.
pub(crate) fn start(app: &Arc<App>, open: &Doors, tasks: &mut tokio::task::JoinSet<()>) {
    if open.contains(&Door::Orchestrator) {
        tasks.spawn(orchestrator::reconcile(Arc::clone(app)));
    }
}

/// Says every refusal, also the extractors' and the service's, in the door's own words.
fn spoken(door: Door, response: Response) -> Response {
    match response.extensions().get::<Problem>() {
        Some(problem) => door.refusal(problem),
        None => response,
    }
}
