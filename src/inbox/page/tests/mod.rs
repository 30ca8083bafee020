//! The page as a browser, or somebody who pretends to be one, sees it.

mod memory;
