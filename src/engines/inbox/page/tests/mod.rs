//! Tests of the page through its HTTP interface, as a browser or an attacker sees it.

mod answers;
mod attacked;
mod callback;
mod conforms;
mod deciding;
mod devices;
mod listening;
mod memory;
mod named;
mod pairing;
mod pushing;
mod several;
mod showing;
mod visitor;
