//! Sets up proxies, clients and servers for the tests.
//!
//! What is right is decided in the tests, not here.

mod agent;
mod home;
mod http;
mod http_upstream;
mod inbox;
mod login_server;
pub(crate) mod ntfy;
mod odd_server;
mod programs;
mod proxy_test;
mod pty;
pub(crate) mod remote;
mod restarting_server;
mod session;
pub(crate) mod slack;
pub(crate) mod smtp;
pub(crate) mod telegram;

pub(crate) use agent::{Agent, approval_records, state_folder};
pub(crate) use home::Home;
pub(crate) use http::{
    Http, Response, TOKEN, call, in_session, initialize, stateless, stateless_call,
};
pub(crate) use http_upstream::HttpUpstream;
pub(crate) use inbox::{CommandOutput, InboxProcess, Terminal, announced_page, engines_test};
pub(crate) use login_server::LoginServer;
pub(crate) use odd_server::{OddServer, Request, plain_response, response};
pub(crate) use programs::{notes_server, proxy, scripted_upstream};
pub(crate) use proxy_test::ProxyTest;
pub(crate) use pty::Pty;
pub(crate) use restarting_server::RestartingServer;
pub(crate) use session::{Session, approval, eventually, is_running};
