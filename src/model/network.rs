//! The network as a graph of operators (Maslov et al. 2025, Nature Communications 16, 43).

use std::collections::HashMap;

use crate::error::Result;
use crate::graph::{Graph, Operator, Shape, TensorId};
use crate::model::{Feature, ModelConfig, parameters};
use crate::ops::{
    Add, Attention, BatchNorm, Concat, Conv2d, ExtractPatches, Gelu, GlobalAveragePool, LayerNorm, LeakyRelu, MatMul,
    MaxPool, Multiply, Reshape, Sigmoid, Softmax, UpsampleBilinear, UpsampleNearest,
};

/// Added to the variance in batch and layer normalisation.
const EPSILON: f32 = 1e-3;
/// Slope of the leaky rectifiers.
const SLOPE: f32 = 0.2;
/// Slope of the leaky rectifiers in the location encoding.
const LOCATION_SLOPE: f32 = 0.3;

/// Name of the graph output: class probabilities (N, tile, tile, 2); class 1 is glacier.
pub const OUTPUT: &str = "output";
/// Name of the graph output of the deep-supervision head, of the same shape.
pub const DEEP_SUPERVISION: &str = "deepsupervision";
/// Name of the graph input that holds the location vectors (N, location size).
pub const LOCATION: &str = "input.location";

/// Name of the graph input of a feature, (N, tile, tile, channels), normalised.
#[must_use]
pub fn input_name(feature: Feature) -> String {
    format!("input.{feature}")
}

/// Builds the inference graph for a batch of `batch` tiles.
///
/// # Errors
/// The configuration cannot be.
pub fn inference_graph(config: &ModelConfig, batch: usize) -> Result<Graph> {
    config.validate()?;
    let shapes = parameters(config).into_iter().map(|p| (p.name, p.shape)).collect();
    let mut network = Network { graph: Graph::new(), shapes, parameters: HashMap::new() };
    network.build(config, batch)?;
    Ok(network.graph)
}

/// A graph under construction, and the parameters it has used.
struct Network {
    graph: Graph,
    shapes: HashMap<String, Vec<usize>>,
    parameters: HashMap<String, TensorId>,
}

impl Network {
    fn build(&mut self, config: &ModelConfig, batch: usize) -> Result<()> {
        let fused = self.fusion(config, batch)?;
        let decoded = self.transformer(config, fused)?;
        self.graph.set_scope("fusion");
        let first = self.graph.apply(Add, &[decoded, fused])?;
        let deep_supervision = self.head(DEEP_SUPERVISION, first)?;
        let refined = self.unet(config, first)?;
        let second = self.graph.apply(Add, &[first, refined])?;
        let output = self.head(OUTPUT, second)?;
        self.graph.output(DEEP_SUPERVISION, deep_supervision);
        self.graph.output(OUTPUT, output);
        Ok(())
    }

    /// One branch per feature, weighed by squeeze and excitation (Hu et al. 2018), summed; the location is added.
    fn fusion(&mut self, config: &ModelConfig, batch: usize) -> Result<TensorId> {
        let mut sum = None;
        for &feature in &config.features {
            let x = self.graph.input(input_name(feature), [batch, config.tile, config.tile, feature.channels()]);
            let name = format!("fusion.{feature}");
            let x = self.conv_block(&name, x)?;
            self.graph.set_scope(format!("{name}.squeeze"));
            let pooled = self.graph.apply(GlobalAveragePool, &[x])?;
            let squeezed = self.dense(&format!("{name}.squeeze"), pooled)?;
            let squeezed = self.graph.apply(LeakyRelu { slope: SLOPE }, &[squeezed])?;
            let excited = self.dense(&format!("{name}.excite"), squeezed)?;
            let weight = self.graph.apply(Sigmoid, &[excited])?;
            let branch = self.graph.apply(Multiply, &[x, weight])?;
            sum = Some(match sum {
                None => branch,
                Some(sum) => self.graph.apply(Add, &[sum, branch])?,
            });
        }
        if config.location_size() > 0 {
            let location = self.graph.input(LOCATION, [batch, config.location_size()]);
            let encoded = self.location(config, location)?;
            sum = match sum {
                Some(sum) => Some(self.graph.apply(Add, &[sum, encoded])?),
                None => Some(encoded),
            };
        }
        // `validate` asks for at least one feature.
        sum.ok_or_else(|| crate::Error::bad_argument("no features", "at least one", "name the features"))
    }

    /// The location vector as one value per channel, (N, 1, 1, F).
    fn location(&mut self, config: &ModelConfig, location: TensorId) -> Result<TensorId> {
        let mut x = location;
        for layer in 1..=2 {
            x = self.dense(&format!("location.dense{layer}"), x)?;
            x = self.batch_norm(&format!("location.bn{layer}"), x)?;
            x = self.graph.apply(LeakyRelu { slope: LOCATION_SLOPE }, &[x])?;
        }
        self.graph.apply(Reshape { inner: vec![1, 1, config.filters] }, &[x])
    }

    /// The transformer branch: patches, pre-norm blocks, progressive upsampling (Zheng et al. 2021, SETR-PUP).
    fn transformer(&mut self, config: &ModelConfig, fused: TensorId) -> Result<TensorId> {
        self.graph.set_scope("transformer.patch");
        let patches = self.graph.apply(ExtractPatches { size: config.patch }, &[fused])?;
        let tokens = self.dense("transformer.patch", patches)?;
        let position = self.parameter("transformer.position");
        let mut x = self.graph.apply(Add, &[tokens, position])?;
        for block in 1..=config.blocks {
            x = self.transformer_block(&format!("transformer.block{block:02}"), config.heads, x)?;
        }
        let side = config.tile / config.patch;
        self.graph.set_scope("transformer.decoder");
        x = self.graph.apply(Reshape { inner: vec![side, side, config.embedding] }, &[x])?;
        for step in 1..=4 {
            x = self.convolution(&format!("transformer.decoder.conv{step}"), x)?;
            x = self.batch_norm(&format!("transformer.decoder.bn{step}"), x)?;
            if step < 4 {
                x = self.graph.apply(UpsampleBilinear, &[x])?;
            }
        }
        x = self.convolution("transformer.decoder.project", x)?;
        self.graph.apply(UpsampleBilinear, &[x])
    }

    fn transformer_block(&mut self, name: &str, heads: usize, x: TensorId) -> Result<TensorId> {
        let normed = self.layer_norm(&format!("{name}.norm1"), x)?;
        let query = self.dense(&format!("{name}.attention.query"), normed)?;
        let key = self.dense(&format!("{name}.attention.key"), normed)?;
        let value = self.dense(&format!("{name}.attention.value"), normed)?;
        self.graph.set_scope(format!("{name}.attention"));
        let attended = self.graph.apply(Attention { heads }, &[query, key, value])?;
        let attended = self.dense(&format!("{name}.attention.output"), attended)?;
        let x = self.graph.apply(Add, &[x, attended])?;
        let mut hidden = self.layer_norm(&format!("{name}.norm2"), x)?;
        // Both dense layers have gelu, as in the published network.
        for layer in ["mlp1", "mlp2"] {
            hidden = self.dense(&format!("{name}.{layer}"), hidden)?;
            hidden = self.graph.apply(Gelu, &[hidden])?;
        }
        self.graph.apply(Add, &[x, hidden])
    }

    /// The residual U-Net (Ronneberger et al. 2015).
    fn unet(&mut self, config: &ModelConfig, first: TensorId) -> Result<TensorId> {
        let mut x = first;
        let mut skips = Vec::new();
        for step in 1..=config.unet_steps {
            x = self.residual_block(&format!("unet.encoder{step}"), x)?;
            skips.push(x);
            x = self.graph.apply(MaxPool, &[x])?;
        }
        x = self.residual_block("unet.bottleneck", x)?;
        for (step, skip) in (1..=config.unet_steps).zip(skips.into_iter().rev()) {
            let name = format!("unet.up{step}");
            self.graph.set_scope(&name);
            x = self.graph.apply(UpsampleNearest, &[x])?;
            x = self.apply_weights(Conv2d::default(), &name, &["kernel"], x)?;
            x = self.batch_norm(&format!("{name}.bn"), x)?;
            x = self.graph.apply(Concat, &[x, skip])?;
            x = self.residual_block(&format!("unet.decoder{step}"), x)?;
        }
        self.dense("unet.output", x)
    }

    fn residual_block(&mut self, name: &str, x: TensorId) -> Result<TensorId> {
        let projected = self.apply_weights(MatMul::default(), &format!("{name}.project"), &["kernel"], x)?;
        let convolved = self.conv_block(name, x)?;
        self.graph.apply(Add, &[projected, convolved])
    }

    fn conv_block(&mut self, name: &str, x: TensorId) -> Result<TensorId> {
        let mut x = x;
        for layer in 1..=2 {
            x = self.convolution(&format!("{name}.conv{layer}"), x)?;
            x = self.batch_norm(&format!("{name}.bn{layer}"), x)?;
            x = self.graph.apply(LeakyRelu { slope: SLOPE }, &[x])?;
        }
        Ok(x)
    }

    fn head(&mut self, name: &str, x: TensorId) -> Result<TensorId> {
        let logits = self.dense(name, x)?;
        self.graph.apply(Softmax, &[logits])
    }

    fn dense(&mut self, name: &str, x: TensorId) -> Result<TensorId> {
        self.apply_weights(MatMul::default(), name, &["kernel", "bias"], x)
    }

    fn convolution(&mut self, name: &str, x: TensorId) -> Result<TensorId> {
        self.apply_weights(Conv2d::default(), name, &["kernel", "bias"], x)
    }

    fn batch_norm(&mut self, name: &str, x: TensorId) -> Result<TensorId> {
        self.apply_weights(BatchNorm { epsilon: EPSILON }, name, &["gamma", "beta", "mean", "variance"], x)
    }

    fn layer_norm(&mut self, name: &str, x: TensorId) -> Result<TensorId> {
        self.apply_weights(LayerNorm { epsilon: EPSILON }, name, &["gamma", "beta"], x)
    }

    /// Applies an operator to `x` and the parameters `name.part`.
    fn apply_weights(&mut self, operator: impl Operator, name: &str, parts: &[&str], x: TensorId) -> Result<TensorId> {
        self.graph.set_scope(name);
        let mut inputs = vec![x];
        inputs.extend(parts.iter().map(|part| self.parameter(&format!("{name}.{part}"))));
        self.graph.apply(operator, &inputs)
    }

    /// The parameter of this name; its shape comes from the one list of parameters.
    fn parameter(&mut self, name: &str) -> TensorId {
        if let Some(&id) = self.parameters.get(name) {
            return id;
        }
        // A name missing from the list gives an empty shape, which no operator accepts: building the graph fails.
        let shape = self.shapes.get(name).cloned().unwrap_or_default();
        let id = self.graph.parameter(name, Shape::from(shape));
        self.parameters.insert(name.to_owned(), id);
        id
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::graph::Source;
    use crate::model::Location;

    #[test]
    fn uses_every_parameter_and_does_the_published_work() {
        let mut config = ModelConfig::default();
        let graph = inference_graph(&config, 1).expect("the published configuration");
        assert_eq!(graph.sources(Source::Parameter).count(), parameters(&config).len());
        let gflop = graph.cost().flop / 1_000_000_000;
        assert!((236..242).contains(&gflop), "{gflop} GFLOP");

        config.location = Location::published_regions();
        config.features = vec![Feature::Thermal, Feature::Dem, Feature::Optical];
        let graph = inference_graph(&config, 2).expect("features in any order and a region vector");
        assert_eq!(graph.sources(Source::Parameter).count(), parameters(&config).len());
        assert_eq!(graph.shape(graph.outputs()[1].1).to_string(), "2x384x384x2");
    }
}
