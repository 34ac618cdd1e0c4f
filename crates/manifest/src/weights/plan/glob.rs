//! Globs, where the feature `glob` is on. Without it no pattern is a glob, and the error says why.

#[cfg(feature = "glob")]
pub(super) use globset::{Glob, GlobMatcher, GlobSet, GlobSetBuilder};
#[cfg(not(feature = "glob"))]
pub(super) use without::{Glob, GlobMatcher, GlobSet, GlobSetBuilder};

/// The part of `globset` that a selection uses, with no glob in it.
#[cfg(not(feature = "glob"))]
mod without {
    use std::convert::Infallible;

    pub(in super::super) struct Glob(Infallible);

    pub(in super::super) struct GlobMatcher(Infallible);

    pub(in super::super) struct GlobSet;

    pub(in super::super) struct GlobSetBuilder;

    #[derive(thiserror::Error, Debug)]
    #[error("this build has no globs, for the feature `glob` of longshore-manifest is off")]
    pub(in super::super) struct NoGlobs;

    impl NoGlobs {
        #[expect(clippy::unused_self, reason = "globset's error knows its pattern")]
        pub(in super::super) fn glob(&self) -> Option<&str> {
            None
        }
    }

    impl Glob {
        pub(in super::super) fn new(_: &str) -> Result<Self, NoGlobs> {
            Err(NoGlobs)
        }

        pub(in super::super) fn compile_matcher(&self) -> GlobMatcher {
            match self.0 {}
        }
    }

    impl GlobMatcher {
        pub(in super::super) fn is_match(&self, _: &str) -> bool {
            match self.0 {}
        }
    }

    impl GlobSetBuilder {
        pub(in super::super) fn new() -> Self {
            Self
        }

        #[expect(clippy::needless_pass_by_value, clippy::unused_self, reason = "the signature is globset's")]
        pub(in super::super) fn add(&mut self, glob: Glob) {
            match glob.0 {}
        }

        #[expect(clippy::unnecessary_wraps, clippy::unused_self, reason = "the signature is globset's")]
        pub(in super::super) fn build(&self) -> Result<GlobSet, NoGlobs> {
            Ok(GlobSet)
        }
    }

    impl GlobSet {
        #[expect(clippy::unused_self, reason = "the signature is globset's")]
        pub(in super::super) fn is_match(&self, _: &str) -> bool {
            false
        }
    }
}

#[cfg(all(test, not(feature = "glob")))]
mod tests {
    use super::Glob;

    #[test]
    fn a_pattern_is_an_error_that_names_the_feature() {
        let error = Glob::new("*.weight").err().expect("nothing is a glob");
        assert!(error.to_string().contains("the feature `glob`"));
    }
}
