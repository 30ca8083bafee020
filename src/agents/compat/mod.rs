//! Tools of other products, for agents that were written for those: the same names, arguments and results.

mod looppause;
mod sesame;

pub use looppause::LoopPause;
pub use sesame::Sesame;
