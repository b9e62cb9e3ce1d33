// Gradient of attention with respect to the queries, and for each query the dot product of its result with the gradient of its
// result, which attention_gradient_keys needs. With p = exp(q k^T * scale - log_sum), the probabilities:
//   dot(i) = sum over c of dout(i, c) out(i, c)
//   dq(i) = scale * sum over keys j of p(i, j) (dout(i) . v(j) - dot(i)) k(j)     (Dao et al. 2022, "FlashAttention").
//
// A thread owns one query and reads keys and values in blocks that its workgroup brings into workgroup memory.
// Bindings:
//   0 q: (N, queries, embedding), heads side by side along the embedding
//   1 k, 2 v: (N, keys, embedding)
//   3 out, 5 dout: as q
//   4 log_sum: (N, heads, queries)
//   6 dq: as q
//   7 dots: (N, heads, queries), scratch
//   8 params
// Tile: 64 queries x (128 / HEAD4) keys; 4 KiB of workgroup memory. HEAD4 is the head's width in vec4, rounded up, at most 16.
// Dispatch: N * heads * ceil(queries / 64) groups of 64, queries fastest.

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
@group(0) @binding(3) var<storage, read> out: array<elem>;
@group(0) @binding(4) var<storage, read> log_sum: array<f32>;
@group(0) @binding(5) var<storage, read> dout: array<elem>;
@group(0) @binding(6) var<storage, read_write> dq: array<elem>;
@group(0) @binding(7) var<storage, read_write> dots: array<f32>;
@group(0) @binding(8) var<uniform> params: Params;

override HEAD4: u32 = 16u;
const QUERIES: u32 = 64u;
const CAPACITY: u32 = 128u;

var<workgroup> key_tile: array<vec4<f32>, CAPACITY>;
var<workgroup> value_tile: array<vec4<f32>, CAPACITY>;

@compute @workgroup_size(QUERIES)
fn main(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) local: u32,
) {
    let blocks = (params.queries + QUERIES - 1u) / QUERIES;
    let index = group_index(group, groups);
    if index >= params.batch * params.heads * blocks {
        return;
    }
    let query = index % blocks * QUERIES + local;
    let head = index / blocks % params.heads;
    let n = index / blocks / params.heads;
    let at_q = (n * params.queries + query) * params.embedding + head * params.head;
    let at_kv = n * params.keys * params.embedding + head * params.head;
    let at_row = (n * params.heads + head) * params.queries + query;

    var own: array<vec4<f32>, 16>;
    var own_dout: array<vec4<f32>, 16>;
    var sums: array<vec4<f32>, 16>;
    var dot_out = 0.0;
    var own_log_sum = 0.0;
    if query < params.queries {
        own_log_sum = log_sum[at_row];
    }
    for (var i = 0u; i < HEAD4; i++) {
        own[i] = vec4<f32>();
        own_dout[i] = vec4<f32>();
        sums[i] = vec4<f32>();
        if query < params.queries {
            for (var j = 0u; j < 4u; j++) {
                let c = 4u * i + j;
                if c < params.head {
                    own[i][j] = f32(q[at_q + c]) * params.scale;
                    own_dout[i][j] = f32(dout[at_q + c]);
                    dot_out += f32(out[at_q + c]) * own_dout[i][j];
                }
            }
        }
    }

    let tile_keys = CAPACITY / HEAD4;
    for (var first = 0u; first < params.keys; first += tile_keys) {
        let count = min(tile_keys, params.keys - first);
        for (var t = local; t < count * HEAD4; t += QUERIES) {
            let at = at_kv + (first + t / HEAD4) * params.embedding;
            var key = vec4<f32>();
            var value = vec4<f32>();
            for (var j = 0u; j < 4u; j++) {
                let c = 4u * (t % HEAD4) + j;
                if c < params.head {
                    key[j] = f32(k[at + c]);
                    value[j] = f32(v[at + c]);
                }
            }
            key_tile[t] = key;
            value_tile[t] = value;
        }
        workgroupBarrier();
        for (var t = 0u; t < count; t++) {
            var score = 0.0;
            var dweight = 0.0;
            for (var i = 0u; i < HEAD4; i++) {
                score += dot(own[i], key_tile[t * HEAD4 + i]);
                dweight += dot(own_dout[i], value_tile[t * HEAD4 + i]);
            }
            // exp of less than -87 is not a normal number.
            let dscore = exp(max(score - own_log_sum, -87.0)) * (dweight - dot_out);
            for (var i = 0u; i < HEAD4; i++) {
                sums[i] += dscore * key_tile[t * HEAD4 + i];
            }
        }
        workgroupBarrier();
    }

    if query < params.queries {
        dots[at_row] = dot_out;
        for (var i = 0u; i < HEAD4; i++) {
            for (var j = 0u; j < 4u; j++) {
                let c = 4u * i + j;
                if c < params.head {
                    dq[at_q + c] = elem(sums[i][j] * params.scale);
                }
            }
        }
    }
}
