// Gradient of attention with respect to keys and values. With p = exp(q k^T * scale - log_sum), the probabilities:
//   dv(j) = sum over queries i of p(i, j) dout(i)
//   dk(j) = scale * sum over queries i of p(i, j) (dout(i) . v(j) - dots(i)) q(i)     (Dao et al. 2022, "FlashAttention").
//
// A thread owns one key and reads queries and gradients in blocks that its workgroup brings into workgroup memory.
// Bindings:
//   0 q: (N, queries, embedding), heads side by side along the embedding
//   1 k, 2 v: (N, keys, embedding)
//   3 log_sum: (N, heads, queries)
//   4 dout: as q
//   5 dots: (N, heads, queries), scratch of attention_gradient_queries
//   6 dk, 7 dv: as k
//   8 params
// Tile: 64 keys x (128 / HEAD4) queries; 5 KiB of workgroup memory. HEAD4 is the head's width in vec4, rounded up, at most 16.
// Dispatch: N * heads * ceil(keys / 64) groups of 64, keys fastest.

struct Params {
    batch: u32,
    queries: u32,
    keys: u32,
    embedding: u32,
    heads: u32,
    head: u32,
    scale: f32,
}

@group(0) @binding(0) var<storage, read> q: array<elem>;
@group(0) @binding(1) var<storage, read> k: array<elem>;
@group(0) @binding(2) var<storage, read> v: array<elem>;
@group(0) @binding(3) var<storage, read> log_sum: array<f32>;
@group(0) @binding(4) var<storage, read> dout: array<elem>;
@group(0) @binding(5) var<storage, read> dots: array<f32>;
@group(0) @binding(6) var<storage, read_write> dk: array<elem>;
@group(0) @binding(7) var<storage, read_write> dv: array<elem>;
@group(0) @binding(8) var<uniform> params: Params;

override HEAD4: u32 = 16u;
const KEYS: u32 = 64u;
const CAPACITY: u32 = 128u;

var<workgroup> query_tile: array<vec4<f32>, CAPACITY>;
var<workgroup> dout_tile: array<vec4<f32>, CAPACITY>;
var<workgroup> row_tile: array<vec2<f32>, CAPACITY>; // log_sum and dots

@compute @workgroup_size(KEYS)
fn main(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) local: u32,
) {
    let blocks = (params.keys + KEYS - 1u) / KEYS;
    let index = group_index(group, groups);
    if index >= params.batch * params.heads * blocks {
        return;
    }
    let key = index % blocks * KEYS + local;
    let head = index / blocks % params.heads;
    let n = index / blocks / params.heads;
    let at_key = (n * params.keys + key) * params.embedding + head * params.head;
    let at_queries = n * params.queries * params.embedding + head * params.head;
    let at_rows = (n * params.heads + head) * params.queries;

    var own_key: array<vec4<f32>, 16>;
    var own_value: array<vec4<f32>, 16>;
    var key_sums: array<vec4<f32>, 16>;
    var value_sums: array<vec4<f32>, 16>;
    for (var i = 0u; i < HEAD4; i++) {
        own_key[i] = vec4<f32>();
        own_value[i] = vec4<f32>();
        key_sums[i] = vec4<f32>();
        value_sums[i] = vec4<f32>();
        if key < params.keys {
            for (var j = 0u; j < 4u; j++) {
                let c = 4u * i + j;
                if c < params.head {
                    own_key[i][j] = f32(k[at_key + c]) * params.scale;
                    own_value[i][j] = f32(v[at_key + c]);
                }
            }
        }
    }

    let tile_queries = CAPACITY / HEAD4;
    for (var first = 0u; first < params.queries; first += tile_queries) {
        let count = min(tile_queries, params.queries - first);
        for (var t = local; t < count * HEAD4; t += KEYS) {
            let at = at_queries + (first + t / HEAD4) * params.embedding;
            var query = vec4<f32>();
            var gradient = vec4<f32>();
            for (var j = 0u; j < 4u; j++) {
                let c = 4u * (t % HEAD4) + j;
                if c < params.head {
                    query[j] = f32(q[at + c]);
                    gradient[j] = f32(dout[at + c]);
                }
            }
            query_tile[t] = query;
            dout_tile[t] = gradient;
        }
        for (var t = local; t < count; t += KEYS) {
            row_tile[t] = vec2<f32>(log_sum[at_rows + first + t], dots[at_rows + first + t]);
        }
        workgroupBarrier();
        for (var t = 0u; t < count; t++) {
            var score = 0.0;
            var dweight = 0.0;
            for (var i = 0u; i < HEAD4; i++) {
                score += dot(own_key[i], query_tile[t * HEAD4 + i]);
                dweight += dot(own_value[i], dout_tile[t * HEAD4 + i]);
            }
            let row = row_tile[t];
            // exp of less than -87 is not a normal number.
            let weight = exp(max(score - row.x, -87.0));
            let dscore = weight * (dweight - row.y);
            for (var i = 0u; i < HEAD4; i++) {
                value_sums[i] += weight * dout_tile[t * HEAD4 + i];
                key_sums[i] += dscore * query_tile[t * HEAD4 + i];
            }
        }
        workgroupBarrier();
    }

    if key < params.keys {
        for (var i = 0u; i < HEAD4; i++) {
            for (var j = 0u; j < 4u; j++) {
                let c = 4u * i + j;
                if c < params.head {
                    dk[at_key + c] = elem(key_sums[i][j] * params.scale);
                    dv[at_key + c] = elem(value_sums[i][j]);
                }
            }
        }
    }
}
