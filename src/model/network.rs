//! The network as a graph of operators (Maslov et al. 2025, Nature Communications 16, 43).

use std::collections::HashMap;
use std::sync::Arc;

use crate::autograd::differentiate;
use crate::error::Result;
use crate::graph::{Graph, Operator, Shape, TensorId};
use crate::model::{Feature, ModelConfig, parameters};
use crate::ops::{
    Activation, Add, Attention, BatchNorm, BatchNormTraining, Concat, Constant, Conv2d, EntropyLoss, ExtractPatches,
    Gelu, GlobalAveragePool, LayerNorm, LeakyRelu, MatMul, MaxPool, Multiply, Reshape, Sigmoid, Softmax,
    UpsampleBilinear, UpsampleNearest,
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
/// Name of the parameter of [`entropy_graph`] whose softmax is the region vector.
pub const REGION_LOGITS: &str = "region.logits";
/// Name of the output of [`entropy_graph`]: the mean entropy.
pub const ENTROPY: &str = "entropy";
/// Name of the output of [`entropy_graph`]: the gradient of the entropy by the logits.
pub const ENTROPY_GRADIENT: &str = "entropy.gradient";
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
    Ok(probabilities(config, batch, None)?.0)
}

/// A place of dropout: an input of [`dropout_graph`] that a tensor is multiplied by.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DropoutMask {
    /// The input's name.
    pub name: String,
    /// Its values for one tile: a factor for every channel of a map, or for every value of tokens and vectors.
    pub values: usize,
}

/// Builds the inference graph with dropout at the published places, for Monte Carlo dropout (Gal and Ghahramani 2016); gives the places too.
///
/// Whole channels of maps are dropped at the end of every convolution block (spatial dropout, Tompson et al. 2015), single values after both activations of
/// every transformer block's MLP and at the end of the location encoding. The masks are inputs: 0 drops a value, `1 / (1 - rate)` keeps it, and
/// ones everywhere make it the network of [`inference_graph`].
///
/// # Errors
/// The configuration cannot be.
pub fn dropout_graph(config: &ModelConfig, batch: usize) -> Result<(Graph, Vec<DropoutMask>)> {
    let (graph, masks) = probabilities(config, batch, Some(Vec::new()))?;
    Ok((graph, masks.unwrap_or_default()))
}

/// The graph of both heads' probabilities; with `masks` it has places of dropout.
fn probabilities(
    config: &ModelConfig,
    batch: usize,
    masks: Option<Vec<DropoutMask>>,
) -> Result<(Graph, Option<Vec<DropoutMask>>)> {
    config.validate()?;
    let mut graph = Graph::new();
    let inputs = inputs(&mut graph, config, batch);
    let weights = parameters(config).into_iter().map(|p| (p.name.clone(), graph.parameter(p.name, p.shape))).collect();
    let mut network = Network { graph: &mut graph, inputs: &inputs, weights: &weights, statistics: None, masks };
    let logits = network.build(config)?;
    let masks = network.masks;
    for (name, logits) in [DEEP_SUPERVISION, OUTPUT].into_iter().zip(logits) {
        graph.set_scope(name);
        let probabilities = graph.apply(Softmax, &[logits])?;
        graph.output(name, probabilities);
    }
    Ok((graph, masks))
}

/// Adds the network's inputs to a graph, by name.
///
/// They are [`input_name`] of every feature and, for a model with a location, [`LOCATION`].
pub fn inputs(graph: &mut Graph, config: &ModelConfig, batch: usize) -> HashMap<String, TensorId> {
    let mut inputs = HashMap::new();
    for &feature in &config.features {
        let shape = [batch, config.tile, config.tile, feature.channels()];
        inputs.insert(input_name(feature), graph.input(input_name(feature), shape));
    }
    if config.location_size() > 0 {
        inputs.insert(LOCATION.to_owned(), graph.input(LOCATION, [batch, config.location_size()]));
    }
    inputs
}

/// The statistics of one batch normalisation in training.
#[derive(Debug, Clone)]
pub struct Statistics {
    /// The normalisation's name; its parameters are `name.mean` and `name.variance`.
    pub name: String,
    /// The batch's mean (C).
    pub mean: TensorId,
    /// The batch's biased variance (C).
    pub variance: TensorId,
    /// Number of values behind each, in each channel.
    pub count: usize,
    /// Whether they come from maps and not from vectors.
    pub of_maps: bool,
}

/// Builds the network in its training form into a graph: batch normalisation by the batch's own statistics, no dropout.
///
/// `inputs` and `weights` are tensors by name (see [`inputs`] and [`parameters`](crate::model::parameters())); the moving
/// statistics among the weights are not used. Gives the logits (N, tile, tile, 2) of the deep-supervision head and of the
/// output, and the statistics of every batch normalisation.
///
/// # Errors
/// The configuration cannot be, or a tensor is missing.
pub fn training_network(
    graph: &mut Graph,
    config: &ModelConfig,
    inputs: &HashMap<String, TensorId>,
    weights: &HashMap<String, TensorId>,
) -> Result<([TensorId; 2], Vec<Statistics>)> {
    config.validate()?;
    let mut network = Network { graph, inputs, weights, statistics: Some(Vec::new()), masks: None };
    let logits = network.build(config)?;
    Ok((logits, network.statistics.unwrap_or_default()))
}

/// Builds the graph of bias optimisation: how sure a model is of its output, as a function of a region vector.
///
/// The region vector of all samples is the softmax of the parameter [`REGION_LOGITS`] (1, regions). Outputs: [`ENTROPY`],
/// the mean entropy of the output's probabilities in nats, and [`ENTROPY_GRADIENT`], its gradient by the logits.
///
/// # Errors
/// The model takes no region vector.
pub fn entropy_graph(config: &ModelConfig, batch: usize) -> Result<Graph> {
    config.validate()?;
    if !matches!(config.location, crate::model::Location::Regions(_)) {
        return Err(crate::Error::bad_argument(
            "a model without a region vector",
            "one trained with --strategy region-encoding",
            "choose another model; this one needs no region",
        ));
    }
    let mut graph = Graph::new();
    let regions = config.location_size();
    let mut given = HashMap::new();
    for &feature in &config.features {
        let shape = [batch, config.tile, config.tile, feature.channels()];
        given.insert(input_name(feature), graph.input(input_name(feature), shape));
    }
    let logits = graph.parameter(REGION_LOGITS, [1, regions]);
    graph.set_scope("region");
    let region = graph.apply(Softmax, &[logits])?;
    let zeros = graph.apply(Constant { shape: vec![batch, regions], value: 0.0 }, &[])?;
    given.insert(LOCATION.to_owned(), graph.apply(Add, &[zeros, region])?);
    let weights = parameters(config).into_iter().map(|p| (p.name.clone(), graph.parameter(p.name, p.shape))).collect();
    let mut network = Network { graph: &mut graph, inputs: &given, weights: &weights, statistics: None, masks: None };
    let [_, output] = network.build(config)?;
    graph.set_scope(ENTROPY);
    let entropy = graph.apply(EntropyLoss, &[output])?;
    let gradient = differentiate(&mut graph, entropy, &[logits])?[0];
    graph.output(ENTROPY, entropy);
    if let Some(gradient) = gradient {
        graph.output(ENTROPY_GRADIENT, gradient);
    }
    Ok(graph)
}

/// A network under construction.
struct Network<'a> {
    graph: &'a mut Graph,
    inputs: &'a HashMap<String, TensorId>,
    weights: &'a HashMap<String, TensorId>,
    /// In training, what each batch normalisation found; in inference none.
    statistics: Option<Vec<Statistics>>,
    /// Where there is dropout, its places so far.
    masks: Option<Vec<DropoutMask>>,
}

impl Network<'_> {
    /// The logits of both heads.
    fn build(&mut self, config: &ModelConfig) -> Result<[TensorId; 2]> {
        let fused = self.fusion(config)?;
        let decoded = self.transformer(config, fused)?;
        self.graph.set_scope("fusion");
        let first = self.graph.apply(Add, &[decoded, fused])?;
        let deep_supervision = self.dense(DEEP_SUPERVISION, first)?;
        let refined = self.unet(config, first)?;
        let second = self.graph.apply(Add, &[first, refined])?;
        Ok([deep_supervision, self.dense(OUTPUT, second)?])
    }

    /// One branch per feature, weighed by squeeze and excitation (Hu et al. 2018), summed; the location is added.
    fn fusion(&mut self, config: &ModelConfig) -> Result<TensorId> {
        let mut sum = None;
        for &feature in &config.features {
            let x = named(self.inputs, &input_name(feature))?;
            let name = format!("fusion.{feature}");
            let x = self.conv_block(&name, x)?;
            self.graph.set_scope(format!("{name}.squeeze"));
            let pooled = self.graph.apply(GlobalAveragePool::default(), &[x])?;
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
            let location = named(self.inputs, LOCATION)?;
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
            x = self.batch_norm(&format!("location.bn{layer}"), x, Activation::LeakyRelu { slope: LOCATION_SLOPE })?;
        }
        x = self.dropout("location", x)?;
        self.graph.apply(Reshape { inner: vec![1, 1, config.filters] }, &[x])
    }

    /// The transformer branch: patches, pre-norm blocks, progressive upsampling (Zheng et al. 2021, SETR-PUP).
    fn transformer(&mut self, config: &ModelConfig, fused: TensorId) -> Result<TensorId> {
        self.graph.set_scope("transformer.patch");
        let patches = self.graph.apply(ExtractPatches { size: config.patch }, &[fused])?;
        let tokens = self.dense("transformer.patch", patches)?;
        let position = named(self.weights, "transformer.position")?;
        let mut x = self.graph.apply(Add, &[tokens, position])?;
        for block in 1..=config.blocks {
            x = self.transformer_block(&format!("transformer.block{block:02}"), config.heads, x)?;
        }
        let side = config.tile / config.patch;
        self.graph.set_scope("transformer.decoder");
        x = self.graph.apply(Reshape { inner: vec![side, side, config.embedding] }, &[x])?;
        for step in 1..=4 {
            x = self.convolution(&format!("transformer.decoder.conv{step}"), x)?;
            x = self.batch_norm(&format!("transformer.decoder.bn{step}"), x, Activation::Identity)?;
            if step < 4 {
                x = self.graph.apply(UpsampleBilinear::default(), &[x])?;
            }
        }
        x = self.convolution("transformer.decoder.project", x)?;
        self.graph.apply(UpsampleBilinear::default(), &[x])
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
            hidden = self.dropout(&format!("{name}.{layer}"), hidden)?;
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
            x = self.batch_norm(&format!("{name}.bn"), x, Activation::Identity)?;
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
            x = self.batch_norm(&format!("{name}.bn{layer}"), x, Activation::LeakyRelu { slope: SLOPE })?;
        }
        self.dropout(name, x)
    }

    /// A place of dropout, where there is any.
    fn dropout(&mut self, name: &str, x: TensorId) -> Result<TensorId> {
        let Some(masks) = &mut self.masks else { return Ok(x) };
        let shape = match self.graph.shape(x).nhwc() {
            Some([n, _, _, c]) => Shape::from([n, 1, 1, c]),
            None => self.graph.shape(x).clone(),
        };
        let name = format!("dropout.{name}");
        self.graph.set_scope(&name);
        masks.push(DropoutMask { name: name.clone(), values: shape.elements() / shape.batch().max(1) });
        let mask = self.graph.input(name, shape);
        self.graph.apply(Multiply, &[x, mask])
    }

    fn dense(&mut self, name: &str, x: TensorId) -> Result<TensorId> {
        self.apply_weights(MatMul::default(), name, &["kernel", "bias"], x)
    }

    fn convolution(&mut self, name: &str, x: TensorId) -> Result<TensorId> {
        self.apply_weights(Conv2d::default(), name, &["kernel", "bias"], x)
    }

    /// Batch normalisation and what follows it: by given statistics, or in training by the batch's own.
    fn batch_norm(&mut self, name: &str, x: TensorId, activation: Activation) -> Result<TensorId> {
        if let Some(statistics) = &mut self.statistics {
            self.graph.set_scope(name);
            let inputs =
                [x, named(self.weights, &format!("{name}.gamma"))?, named(self.weights, &format!("{name}.beta"))?];
            let norm = BatchNormTraining { epsilon: EPSILON, activation };
            let made = self.graph.apply_shared(Arc::new(norm), &inputs)?;
            let (count, of_maps) = (self.graph.shape(x).rows(), self.graph.shape(x).len() == 4);
            let [y, mean, variance] = [made[0], made[1], made[2]];
            statistics.push(Statistics { name: name.to_owned(), mean, variance, count, of_maps });
            return Ok(y);
        }
        let norm = BatchNorm { epsilon: EPSILON };
        let x = self.apply_weights(norm, name, &["gamma", "beta", "mean", "variance"], x)?;
        match activation {
            Activation::Identity => Ok(x),
            Activation::LeakyRelu { slope } => self.graph.apply(LeakyRelu { slope }, &[x]),
        }
    }

    fn layer_norm(&mut self, name: &str, x: TensorId) -> Result<TensorId> {
        self.apply_weights(LayerNorm { epsilon: EPSILON }, name, &["gamma", "beta"], x)
    }

    /// Applies an operator to `x` and the parameters `name.part`.
    fn apply_weights(&mut self, operator: impl Operator, name: &str, parts: &[&str], x: TensorId) -> Result<TensorId> {
        self.graph.set_scope(name);
        let mut inputs = vec![x];
        for part in parts {
            inputs.push(named(self.weights, &format!("{name}.{part}"))?);
        }
        self.graph.apply(operator, &inputs)
    }
}

/// The tensor of this name.
fn named(tensors: &HashMap<String, TensorId>, name: &str) -> Result<TensorId> {
    tensors.get(name).copied().ok_or_else(|| {
        crate::Error::bad_argument(format!("no tensor '{name}'"), "every input and weight of the network", "add it")
    })
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

    #[test]
    fn dropout_is_at_the_published_places() {
        let config = ModelConfig { location: Location::published_regions(), ..ModelConfig::default() };
        let (graph, masks) = dropout_graph(&config, 3).expect("the published configuration");
        // Two fusion branches, the location, two in each of twelve transformer blocks, seven residual blocks.
        assert_eq!(masks.len(), 2 + 1 + 24 + 7);
        let values =
            |name: &str| masks.iter().find(|mask| mask.name == format!("dropout.{name}")).map(|mask| mask.values);
        assert_eq!(values("fusion.dem"), Some(64));
        assert_eq!(values("location"), Some(64));
        assert_eq!(values("transformer.block12.mlp1"), Some(576 * 256));
        assert_eq!(values("transformer.block12.mlp2"), Some(576 * 64));
        assert_eq!(values("unet.bottleneck"), Some(512));
        assert_eq!(values("unet.decoder3"), Some(64));
        for (_, tensor) in graph.sources(Source::Input).filter(|(_, tensor)| tensor.name.starts_with("dropout.")) {
            let mask = masks.iter().find(|mask| mask.name == tensor.name).expect("listed");
            assert_eq!((tensor.shape.batch(), tensor.shape.elements()), (3, 3 * mask.values));
        }
        let plain = inference_graph(&config, 3).expect("the same without");
        assert_eq!(graph.nodes().len(), plain.nodes().len() + masks.len());
        assert_eq!(graph.sources(Source::Parameter).count(), plain.sources(Source::Parameter).count());
    }
}
