//! Observation of the inputs of linear layers.

/// Receiver of the inputs of linear layers, as calibration needs them.
pub trait Observer: Send {
    /// Receives rows of `columns` numbers, `x`, that the named `weights` are multiplied by. `expert` is the index of the expert that
    /// the rows were routed to, for the layers of experts.
    fn input(&mut self, weights: &[&str], expert: Option<usize>, columns: usize, x: &[f32]);
}
