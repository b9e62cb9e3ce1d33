//! The name, shape and order of every parameter of the network.
//!
//! Convolution kernels are (row, column, in, out), dense kernels (in, out). The attention projections are stored as
//! (embedding, embedding) matrices in which the heads are consecutive blocks: of columns for query, key and value, of
//! rows for the output.

use crate::model::{Feature, ModelConfig};

/// One parameter tensor.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ParameterSpec {
    /// Its name in weight files, unique.
    pub name: String,
    /// Its shape, outermost axis first.
    pub shape: Vec<usize>,
    /// Whether training changes it by gradient. Moving means and variances are not trainable.
    pub trainable: bool,
}

impl ParameterSpec {
    /// The number of values.
    #[must_use]
    pub fn len(&self) -> usize {
        self.shape.iter().product()
    }

    /// Whether it holds no values; never so for a valid configuration.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

/// Every parameter of the network in reading order: fusion, location, transformer, U-Net, heads.
///
/// This is also the order in weight files and the order that [`crate::model::Weights::parameters_sha256`] hashes.
/// `config` should pass [`ModelConfig::validate`] first.
#[must_use]
pub fn parameters(config: &ModelConfig) -> Vec<ParameterSpec> {
    let mut list = List::default();
    for &feature in &config.features {
        list.fusion(feature, config.filters);
    }
    if config.location_size() > 0 {
        list.dense("location.dense1", config.location_size(), config.filters);
        list.batch_norm("location.bn1", config.filters);
        list.dense("location.dense2", config.filters, config.filters);
        list.batch_norm("location.bn2", config.filters);
    }
    list.transformer(config);
    list.unet(config.filters, config.unet_steps);
    list.dense("deepsupervision", config.filters, 2);
    list.dense("output", config.filters, 2);
    list.0
}

/// The number of values in all parameters, and in the trainable ones.
#[must_use]
pub fn count(parameters: &[ParameterSpec]) -> (usize, usize) {
    let total = parameters.iter().map(ParameterSpec::len).sum();
    let trainable = parameters.iter().filter(|p| p.trainable).map(ParameterSpec::len).sum();
    (total, trainable)
}

#[derive(Default)]
struct List(Vec<ParameterSpec>);

impl List {
    fn push(&mut self, name: String, shape: &[usize]) {
        let trainable = !(name.ends_with(".mean") || name.ends_with(".variance"));
        self.0.push(ParameterSpec { name, shape: shape.to_vec(), trainable });
    }

    fn dense(&mut self, name: &str, inputs: usize, outputs: usize) {
        self.push(format!("{name}.kernel"), &[inputs, outputs]);
        self.push(format!("{name}.bias"), &[outputs]);
    }

    fn convolution(&mut self, name: &str, side: usize, inputs: usize, outputs: usize) {
        self.push(format!("{name}.kernel"), &[side, side, inputs, outputs]);
        self.push(format!("{name}.bias"), &[outputs]);
    }

    fn batch_norm(&mut self, name: &str, channels: usize) {
        for part in ["gamma", "beta", "mean", "variance"] {
            self.push(format!("{name}.{part}"), &[channels]);
        }
    }

    fn layer_norm(&mut self, name: &str, channels: usize) {
        for part in ["gamma", "beta"] {
            self.push(format!("{name}.{part}"), &[channels]);
        }
    }

    /// Two convolutions, each with its batch normalisation.
    fn conv_block(&mut self, name: &str, inputs: usize, outputs: usize) {
        self.convolution(&format!("{name}.conv1"), 3, inputs, outputs);
        self.batch_norm(&format!("{name}.bn1"), outputs);
        self.convolution(&format!("{name}.conv2"), 3, outputs, outputs);
        self.batch_norm(&format!("{name}.bn2"), outputs);
    }

    fn residual_block(&mut self, name: &str, inputs: usize, outputs: usize) {
        self.conv_block(name, inputs, outputs);
        self.push(format!("{name}.project.kernel"), &[inputs, outputs]);
    }

    fn fusion(&mut self, feature: Feature, filters: usize) {
        let name = format!("fusion.{feature}");
        self.conv_block(&name, feature.channels(), filters);
        self.dense(&format!("{name}.squeeze"), filters, filters);
        self.dense(&format!("{name}.excite"), filters, filters);
    }

    fn transformer(&mut self, config: &ModelConfig) {
        let (filters, width) = (config.filters, config.embedding);
        self.dense("transformer.patch", config.patch * config.patch * filters, width);
        self.push("transformer.position".into(), &[config.tokens(), width]);
        for block in 1..=config.blocks {
            let name = format!("transformer.block{block:02}");
            self.layer_norm(&format!("{name}.norm1"), width);
            for projection in ["query", "key", "value", "output"] {
                self.dense(&format!("{name}.attention.{projection}"), width, width);
            }
            self.layer_norm(&format!("{name}.norm2"), width);
            self.dense(&format!("{name}.mlp1"), width, config.mlp);
            self.dense(&format!("{name}.mlp2"), config.mlp, width);
        }
        let decoder = "transformer.decoder";
        for step in 1..=4 {
            let inputs = if step == 1 { width } else { filters };
            self.convolution(&format!("{decoder}.conv{step}"), 3, inputs, filters);
            self.batch_norm(&format!("{decoder}.bn{step}"), filters);
        }
        self.convolution(&format!("{decoder}.project"), 1, filters, filters);
    }

    fn unet(&mut self, filters: usize, steps: usize) {
        let width = |level: usize| filters << level;
        for step in 1..=steps {
            let inputs = if step == 1 { filters } else { width(step - 2) };
            self.residual_block(&format!("unet.encoder{step}"), inputs, width(step - 1));
        }
        self.residual_block("unet.bottleneck", width(steps - 1), width(steps));
        for step in 1..=steps {
            let (above, here) = (width(steps - step + 1), width(steps - step));
            self.push(format!("unet.up{step}.kernel"), &[2, 2, above, here]);
            self.batch_norm(&format!("unet.up{step}.bn"), here);
            // Upsampled map and skip connection, side by side.
            self.residual_block(&format!("unet.decoder{step}"), 2 * here, here);
        }
        self.dense("unet.output", filters, filters);
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;
    use crate::model::Location;

    #[test]
    fn published_counts() {
        let mut config = ModelConfig::default();
        let list = parameters(&config);
        assert_eq!(count(&list), (10_032_068, 10_024_516));
        assert_eq!(list.len(), 365);
        let names: HashSet<_> = list.iter().map(|p| &p.name).collect();
        assert_eq!(names.len(), list.len());

        config.location = Location::published_regions();
        assert_eq!(count(&parameters(&config)).0, 10_037_572);
        assert_eq!(parameters(&config).len(), 377);

        config.location = Location::None;
        config.features.extend([Feature::CoPolSar, Feature::CrossPolSar, Feature::InSar]);
        assert_eq!(count(&parameters(&config)).0, 10_172_996);
    }

    #[test]
    fn names_and_shapes() {
        let list = parameters(&ModelConfig::default());
        let shape = |name: &str| list.iter().find(|p| p.name == name).map(|p| p.shape.as_slice());
        assert_eq!(shape("fusion.optical.conv1.kernel"), Some(&[3, 3, 6, 64][..]));
        assert_eq!(shape("transformer.patch.kernel"), Some(&[16_384, 64][..]));
        assert_eq!(shape("transformer.position"), Some(&[576, 64][..]));
        assert_eq!(shape("transformer.block12.attention.output.kernel"), Some(&[64, 64][..]));
        assert_eq!(shape("transformer.decoder.project.kernel"), Some(&[1, 1, 64, 64][..]));
        assert_eq!(shape("unet.bottleneck.project.kernel"), Some(&[256, 512][..]));
        assert_eq!(shape("unet.up1.kernel"), Some(&[2, 2, 512, 256][..]));
        assert_eq!(shape("unet.decoder3.conv1.kernel"), Some(&[3, 3, 128, 64][..]));
        assert_eq!(shape("output.bias"), Some(&[2][..]));
    }
}
