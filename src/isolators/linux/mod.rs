//! What the payload may do: rights beside those of its user.

pub(super) mod capabilities;
pub(super) mod nnp;
