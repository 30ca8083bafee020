//! What the options of a bot may be, and that its token is printed nowhere.
