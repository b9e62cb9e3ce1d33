//! Which members a prediction has: models, symmetries and runs of dropout.

use std::path::PathBuf;

use clap::{Args, ValueHint};
use serde_json::{Value, json};

use crate::error::{Error, Result};
use crate::infer::dropout::Dropout;
use crate::infer::symmetry::Symmetry;

/// The options of `glavitu predict` that make it say how sure the model is.
#[derive(Debug, Args)]
pub(super) struct MemberArgs {
    /// Map the scene under the eight symmetries of the square too (test-time augmentation); takes eight times as long
    #[arg(long)]
    pub(super) tta: bool,
    /// Map the scene N times with random dropout (Monte Carlo dropout); models are trained without it, as published
    #[arg(long, value_name = "N", value_parser = clap::builder::RangedU64ValueParser::<usize>::new().range(1..=1000))]
    pub(super) mc_dropout: Option<usize>,
    /// The share of channels and values that dropout drops; the model's own (mostly 0.1) if not given
    #[arg(long, value_name = "0 TO 1", requires = "mc_dropout")]
    pub(super) dropout_rate: Option<f32>,
    /// The seed of dropout: equal seeds give equal maps
    #[arg(long, value_name = "N", requires = "mc_dropout", default_value_t = 0)]
    pub(super) seed: u64,
    /// More models, of the same features and tile, to be averaged with --model
    #[arg(long, value_name = "MODEL.safetensors", num_args = 1.., value_hint = ValueHint::FilePath)]
    pub(super) ensemble: Vec<PathBuf>,
}

impl MemberArgs {
    /// Refuses what no prediction can have.
    pub(super) fn check(&self) -> Result<()> {
        match self.dropout_rate {
            Some(rate) if !(0.0..1.0).contains(&rate) => Err(Error::bad_argument(
                format!("--dropout-rate {rate}"),
                "a rate from 0 to below 1",
                "give 0.1, say, or leave it out for the model's own",
            )),
            _ => Ok(()),
        }
    }

    pub(super) fn symmetries(&self) -> &'static [Symmetry] {
        if self.tta { &Symmetry::ALL } else { &[Symmetry::IDENTITY] }
    }

    /// Runs of dropout; 1 without.
    pub(super) fn runs(&self) -> usize {
        self.mc_dropout.unwrap_or(1)
    }

    /// How many members there are.
    pub(super) fn count(&self) -> usize {
        (1 + self.ensemble.len()) * self.symmetries().len() * self.runs()
    }

    /// Whether the outputs tell how much members differ.
    pub(super) fn are_many(&self) -> bool {
        self.count() > 1
    }

    /// What of them decides the probabilities, but for the models; null where there is nothing but a model. `dropout` is each model's.
    pub(super) fn json(&self, dropout: &[Dropout]) -> Value {
        let dropout = self.mc_dropout.map(|runs| {
            // Through text, as 0.1 is not 0.100000001 to a reader.
            let short = |rate: f32| rate.to_string().parse::<f64>().unwrap_or(f64::from(rate));
            let rates: Vec<f64> = dropout.iter().map(|dropout| short(dropout.rate())).collect();
            json!({ "runs": runs, "rates": rates, "seed": self.seed })
        });
        match (self.count(), &dropout) {
            (1, None) => Value::Null,
            (count, _) => json!({
                "count": count,
                "models": 1 + self.ensemble.len(),
                "symmetries": self.symmetries().len(),
                "dropout": dropout,
            }),
        }
    }
}
