//! The network: connections, requests, their credentials, and the interpretation of responses.

pub mod authorization;
pub mod compression;
pub mod connector;
pub mod digest;
pub mod headers;
pub mod http;
pub mod oauth;
pub mod response;
pub mod server;
pub mod signing;
pub mod sigv4;
pub mod tls;
pub mod token_reply;
pub mod unasked;
pub mod url_template;
pub mod urls;
pub mod wire;
