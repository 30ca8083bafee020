//! The page as a browser, or somebody who pretends to be one, sees it.

mod attacked;
mod conforms;
mod deciding;
mod listening;
mod memory;
mod named;
mod several;
mod showing;
mod visitor;
