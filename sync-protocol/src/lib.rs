//! Part of Gridbeat.
