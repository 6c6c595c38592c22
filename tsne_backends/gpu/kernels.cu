// The loops of t-SNE on a GPU, one thread a row (or an edge, a piece of edges, a node). Plain C with a few CUDA words, no
// warp tricks: the tests compile this very file for the processor.
//
// Matrices of k neighbours lie "column by column", entry c of row i at c * n + i, so that the
// threads of neighbouring rows read neighbouring words. The two coordinates of a row lie side by
// side, so that a row somewhere else comes with one sector of memory. Nothing here depends on the
// order in which threads run: sums are taken by one thread in a fixed order, or in whole numbers.

// Pieces of incoming edges that lie side by side, and threads that run in step.
#define BUNDLE 32
// Squares of so many features are summed by themselves.
#define PIECE_FEATURES 64
// Steps of the bisection for a row's bandwidth, and how near the entropy must come.
#define BISECTIONS 64
#define ENTROPY_TOLERANCE 1e-5f
// Rows with more equal neighbours than the perplexity asks for ever narrower kernels.
#define LARGEST_BETA 1e30f
// Charges are added as whole numbers of 2^-36: their sum is then the same in every order, and
// 2^28 rows on one node still fit, more than the memory of any GPU holds.
#define CHARGE_UNIT 6.8719476736e10f
// Least gain of the gradient descent (van der Maaten's code, scikit-learn, openTSNE, cuML).
#define LEAST_GAIN 0.01f

// Squared distances of the neighbours that a search has found, one thread an edge, the edges of a
// row side by side; infinite for what is no row. Sums of many features are taken in pieces, or they
// would lose digits.
extern "C" __global__ void distances(const float* points, const long long* found, float* squared,
                                     int n, int width, int features)
{
  long long edge = (long long)blockIdx.x * blockDim.x + threadIdx.x;
  if (edge >= (long long)n * width) return;
  if (found[edge] < 0 || found[edge] >= n) {
    squared[edge] = -logf(0.0f);
    return;
  }
  const float* one = points + edge / width * features;
  const float* other = points + found[edge] * features;
  float sum = 0.0f;
  for (int first = 0; first < features; first += PIECE_FEATURES) {
    float piece = 0.0f;
    for (int f = first; f < features && f < first + PIECE_FEATURES; f++) {
      float difference = one[f] - other[f];
      piece += difference * difference;
    }
    sum += piece;
  }
  squared[edge] = sum;
}

// The nearest width - 1 of what a search has found for a row, without the row itself: by distance
// and then by number, because a seed would not repeat if equal distances came in any order.
extern "C" __global__ void settle(const long long* found, const float* distances, int* indices,
                                  float* nearest, int n, int width)
{
  long long i = (long long)blockIdx.x * blockDim.x + threadIdx.x;
  if (i >= n) return;
  int* rows = indices + i * (width - 1);
  float* values = nearest + i * (width - 1);
  int held = 0;
  for (int c = 0; c < width; c++) {
    int j = (int)found[i * width + c];
    float d = distances[i * width + c];
    d = d < 0.0f ? 0.0f : d;
    if (j == i) continue;
    // What a search has found is nearly sorted, and goes to the end or near it.
    int place = held < width - 1 ? held : held - 1;
    if (place < held && !(d < values[place] || (d == values[place] && j < rows[place]))) continue;
    for (; place > 0; place--) {
      float before = values[place - 1];
      if (!(d < before || (d == before && j < rows[place - 1]))) break;
      values[place] = before;
      rows[place] = rows[place - 1];
    }
    values[place] = d;
    rows[place] = j;
    held = held < width - 1 ? held + 1 : held;
  }
}

// Gaussian affinities p(j|i) whose entropy is log(perplexity), from squared distances, in place.
extern "C" __global__ void conditional(float* affinities, int n, int k, float perplexity)
{
  long long i = (long long)blockIdx.x * blockDim.x + threadIdx.x;
  if (i >= n) return;
  float nearest = affinities[i], mean = 0.0f;
  for (int c = 1; c < k; c++) nearest = fminf(nearest, affinities[(long long)c * n + i]);
  for (int c = 0; c < k; c++) mean += affinities[(long long)c * n + i] - nearest;
  mean /= k;
  float low = 0.0f, high = -1.0f, target = logf(perplexity);
  // Distances count from the nearest, so that no row underflows; equal ones need no bandwidth.
  float beta = mean > 0.0f ? 1.0f / mean : 0.0f;
  float sum = 0.0f;
  for (int step = 0; step < BISECTIONS; step++) {
    float weighted = 0.0f;
    sum = 0.0f;
    for (int c = 0; c < k; c++) {
      float d = affinities[(long long)c * n + i] - nearest;
      float p = expf(-beta * d);
      sum += p;
      weighted += p * d;
    }
    float entropy = logf(sum) + beta * weighted / sum;
    if (beta == 0.0f || fabsf(entropy - target) <= ENTROPY_TOLERANCE) break;
    if (entropy > target) {
      low = beta;
      beta = high < 0.0f ? fminf(2.0f * beta, LARGEST_BETA) : 0.5f * (low + high);
    } else {
      high = beta;
      beta = 0.5f * (low + high);
    }
  }
  sum = 0.0f;
  for (int c = 0; c < k; c++)
    sum += expf(-beta * (affinities[(long long)c * n + i] - nearest));
  for (int c = 0; c < k; c++) {
    long long entry = (long long)c * n + i;
    affinities[entry] = expf(-beta * (affinities[entry] - nearest)) / sum;
  }
}

// One thread an edge i -> j. If i is a neighbour of j too, the edge gets (p(j|i) + p(i|j)) * scale;
// else minus p(j|i) * scale, to be handed to j besides. `neighbors` lies row by row here, because a
// row is searched through.
extern "C" __global__ void join(const int* neighbors, const float* affinities, float* joint, int n,
                                int k, float scale)
{
  long long edge = (long long)blockIdx.x * blockDim.x + threadIdx.x;
  if (edge >= (long long)n * k) return;
  int i = (int)(edge % n), c = (int)(edge / n);
  int j = neighbors[(long long)i * k + c];
  float p = affinities[edge];
  for (int back = 0; back < k; back++)
    if (neighbors[(long long)j * k + back] == i) {
      joint[edge] = (p + affinities[(long long)back * n + j]) * scale;
      return;
    }
  joint[edge] = -p * scale;
}

// Force on a row at (x, y) along one edge, and the edge's share of the KL divergence.
__device__ void pull(float p, float x, float y, const float* positions, int j, int want_kl,
                     float* sums)
{
  float dx = x - positions[2LL * j], dy = y - positions[2LL * j + 1];
  float distance = 1.0f + dx * dx + dy * dy;
  sums[0] += p / distance * dx;
  sums[1] += p / distance * dy;
  if (want_kl && p > 0.0f) sums[2] += p * logf(p * distance);
}

// Lays out pieces of incoming edges in bundles: edge c of the t-th piece at the beginning of its
// bundle + c * 32 + t % 32.
extern "C" __global__ void bundle(const long long* firsts, const int* lengths,
                                  const long long* bundles, const int* columns,
                                  const float* values, int* columns_by_step, float* values_by_step,
                                  int pieces)
{
  long long t = (long long)blockIdx.x * blockDim.x + threadIdx.x;
  if (t >= pieces) return;
  long long to = bundles[t / BUNDLE] + t % BUNDLE;
  for (int c = 0; c < lengths[t]; c++, to += BUNDLE) {
    columns_by_step[to] = columns[firsts[t] + c];
    values_by_step[to] = values[firsts[t] + c];
  }
}

// Sums over the incoming edges of a row, piece by piece: some rows have a million of them, and one
// thread would keep all others waiting.
extern "C" __global__ void attract_pieces(const int* numbers, const int* owners,
                                          const int* lengths, const long long* bundles,
                                          const int* columns, const float* values,
                                          const float* positions, float* sums, int pieces,
                                          int want_kl)
{
  long long t = (long long)blockIdx.x * blockDim.x + threadIdx.x;
  if (t >= pieces) return;
  int i = owners[t], s = numbers[t];
  float x = positions[2LL * i], y = positions[2LL * i + 1], local[3] = {0.0f, 0.0f, 0.0f};
  long long edge = bundles[t / BUNDLE] + t % BUNDLE;
  for (int c = 0; c < lengths[t]; c++, edge += BUNDLE)
    pull(values[edge], x, y, positions, columns[edge], want_kl, local);
  sums[s] = local[0];
  sums[pieces + s] = local[1];
  sums[2LL * pieces + s] = local[2];
}

// Attraction of every row, sum of p / (1 + d^2) * (y_i - y_j) over its own edges and the pieces of
// its incoming ones, and with `want_kl` also sum of p * log(p * (1 + d^2)).
extern "C" __global__ void attract(const int* neighbors, const float* joint, const int* starts,
                                   const float* sums, const float* positions, float* forces,
                                   float* divergence, int n, int k, int pieces, int want_kl)
{
  long long i = (long long)blockIdx.x * blockDim.x + threadIdx.x;
  if (i >= n) return;
  float x = positions[2LL * i], y = positions[2LL * i + 1], local[3] = {0.0f, 0.0f, 0.0f};
  for (int c = 0; c < k; c++) {
    long long entry = (long long)c * n + i;
    pull(joint[entry], x, y, positions, neighbors[entry], want_kl, local);
  }
  for (int s = starts[i]; s < starts[i + 1]; s++) {
    local[0] += sums[s];
    local[1] += sums[pieces + s];
    local[2] += sums[2LL * pieces + s];
  }
  forces[2 * i] = local[0];
  forces[2 * i + 1] = local[1];
  if (want_kl) divergence[i] = local[2];
}

// Node and weights of the cubic B-spline at one coordinate, and their derivatives in nodes.
__device__ int spline(float coordinate, int nodes, float* weights, float* slopes)
{
  int node = (int)floorf(coordinate);
  node = node < 1 ? 1 : node > nodes - 3 ? nodes - 3 : node;
  float t = coordinate - node, s = 1.0f - t;
  weights[0] = s * s * s / 6.0f;
  weights[1] = 2.0f / 3.0f - t * t + 0.5f * t * t * t;
  weights[2] = 2.0f / 3.0f - s * s + 0.5f * s * s * s;
  weights[3] = t * t * t / 6.0f;
  slopes[0] = -0.5f * s * s;
  slopes[1] = -2.0f * t + 1.5f * t * t;
  slopes[2] = 2.0f * s - 1.5f * s * s;
  slopes[3] = 0.5f * t * t;
  return node - 1;
}

// Whether the splines of a row reach only nodes that there are; not where it is not finite.
__device__ int is_within(float coordinate, int nodes)
{
  return coordinate >= 1.0f && coordinate < nodes - 2.0f;
}

// Spreads a charge of 1 a row over the 4 x 4 nodes around it; `outside` is set where these do not
// exist, and the grid is not to be used.
extern "C" __global__ void spread(const float* positions, unsigned long long* charge, int* outside,
                                  int n, int nodes_x, int nodes_y, float left, float bottom,
                                  float nodes_per_unit)
{
  long long i = (long long)blockIdx.x * blockDim.x + threadIdx.x;
  if (i >= n) return;
  float wx[4], wy[4], slopes[4];
  float x = (positions[2 * i] - left) * nodes_per_unit;
  float y = (positions[2 * i + 1] - bottom) * nodes_per_unit;
  if (!is_within(x, nodes_x) || !is_within(y, nodes_y)) {
    outside[0] = 1;
    return;
  }
  int first_x = spline(x, nodes_x, wx, slopes), first_y = spline(y, nodes_y, wy, slopes);
  for (int a = 0; a < 4; a++)
    for (int b = 0; b < 4; b++)
      atomicAdd(&charge[(long long)(first_x + a) * nodes_y + first_y + b],
                (unsigned long long)(wx[a] * wy[b] * CHARGE_UNIT));
}

// Takes the charges off the grid, which is left empty, as density of a grid whose rows are `pitch`
// nodes long: one thread a node.
extern "C" __global__ void take(unsigned long long* charge, float* density, int nodes_x,
                                int nodes_y, int pitch)
{
  long long node = (long long)blockIdx.x * blockDim.x + threadIdx.x;
  if (node >= (long long)nodes_x * nodes_y) return;
  density[node / nodes_y * pitch + node % nodes_y] = (float)charge[node] / CHARGE_UNIT;
  charge[node] = 0;
}

// The potential at every row and its gradient: three runs of n floats. Rows of the potential's grid
// are `pitch` nodes long, of which the first `nodes_y` count.
extern "C" __global__ void gather(const float* positions, const float* potential, float* field,
                                  int n, int nodes_x, int nodes_y, int pitch, float left,
                                  float bottom, float nodes_per_unit)
{
  long long i = (long long)blockIdx.x * blockDim.x + threadIdx.x;
  if (i >= n) return;
  float wx[4], wy[4], sx[4], sy[4];
  int first_x = spline((positions[2 * i] - left) * nodes_per_unit, nodes_x, wx, sx);
  int first_y = spline((positions[2 * i + 1] - bottom) * nodes_per_unit, nodes_y, wy, sy);
  float value = 0.0f, gx = 0.0f, gy = 0.0f;
  for (int a = 0; a < 4; a++)
    for (int b = 0; b < 4; b++) {
      float node = potential[(long long)(first_x + a) * pitch + first_y + b];
      value += wx[a] * wy[b] * node;
      gx += sx[a] * wy[b] * node;
      gy += wx[a] * sy[b] * node;
    }
  field[i] = value;
  field[n + i] = gx * nodes_per_unit;
  field[2LL * n + i] = gy * nodes_per_unit;
}

// The same field summed pair by pair, without the row itself.
extern "C" __global__ void gather_exact(const float* positions, float* field, int n)
{
  long long i = (long long)blockIdx.x * blockDim.x + threadIdx.x;
  if (i >= n) return;
  float x = positions[2 * i], y = positions[2 * i + 1];
  float value = 0.0f, gx = 0.0f, gy = 0.0f;
  for (int j = 0; j < n; j++) {
    float dx = x - positions[2LL * j], dy = y - positions[2LL * j + 1];
    float q = 1.0f / (1.0f + dx * dx + dy * dy);
    if (j != i) value += q;
    gx -= 2.0f * q * q * dx;
    gy -= 2.0f * q * q * dy;
  }
  field[i] = value;
  field[n + i] = gx;
  field[2LL * n + i] = gy;
}

// Sum of 1 / (1 + d^2) over pairs of different rows, from the sum over all and what rows see of
// themselves; not less than `least`. One thread.
extern "C" __global__ void normalise(const double* total, const double* own, double* normalisation,
                                     float least)
{
  double others = total[0] - own[0];
  normalisation[0] = others < least ? least : others;
}

// One step of gradient descent with momentum and gains, as in scikit-learn. The gradient is
// exaggeration * attraction + 1/2 * gradient of the potential / normalisation: openTSNE's, without
// the factor 4. `norms` gets each row's squared gradient, gains included.
extern "C" __global__ void move(float* positions, float* velocity, float* gains,
                                const float* attraction, const float* field,
                                const double* normalisation, float* norms, int n,
                                float exaggeration, float learning_rate, float momentum)
{
  long long i = (long long)blockIdx.x * blockDim.x + threadIdx.x;
  if (i >= n) return;
  float share = 0.5f / (float)normalisation[0], norm = 0.0f;
  for (int axis = 0; axis < 2; axis++) {
    long long entry = 2 * i + axis;
    float gradient =
        exaggeration * attraction[entry] + share * field[(long long)(axis + 1) * n + i];
    float gain = gains[entry];
    gain = velocity[entry] * gradient < 0.0f ? gain + 0.2f : gain * 0.8f;
    gain = gain < LEAST_GAIN ? LEAST_GAIN : gain;
    gradient *= gain;
    norm += gradient * gradient;
    gains[entry] = gain;
    velocity[entry] = momentum * velocity[entry] - learning_rate * gradient;
    positions[entry] += velocity[entry];
  }
  norms[i] = norm;
}

// Least x and y, and least -x and -y, of every `threads`-th row: four runs of `threads` floats. A
// coordinate that is not a number stays one.
extern "C" __global__ void extents(const float* positions, float* parts, int n, int threads)
{
  long long t = (long long)blockIdx.x * blockDim.x + threadIdx.x;
  if (t >= threads) return;
  for (int side = 0; side < 4; side++) {
    float sign = side < 2 ? 1.0f : -1.0f, least = sign * positions[2 * (t % n) + side % 2];
    for (long long i = t + threads; i < n; i += threads) {
      float value = sign * positions[2 * i + side % 2];
      if (value < least || value != value) least = value;
    }
    parts[(long long)side * threads + t] = least;
  }
}
