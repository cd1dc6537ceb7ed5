/* SPDX-License-Identifier: Apache-2.0 */
/* One process per rank: the first makes the root info, the others get it through pipes (a program
 * under MPI would broadcast it). They sum a gradient with HcclAllReduce, then compute a layer whose
 * rows are scattered over the ranks. All values are small integers, so every result is exact. */
#define _POSIX_C_SOURCE 200809L
#include <stdio.h>
#include <stdlib.h>
#include <sys/wait.h>
#include <unistd.h>

#include "acl/acl.h"
#include "aclnnop/aclnn_matmul_reduce_scatter.h"
#include "hccl/hccl.h"

enum { kRanks = 4, kGradient = 10000, kRows = 64, kLocalK = 256, kColumns = 96 };

#define CHECK(call)                                                                    \
  do {                                                                                 \
    const int code_ = (call);                                                          \
    if (code_ != 0) {                                                                  \
      const char *message_ = aclGetRecentErrMsg();                                     \
      fprintf(stderr, "%s returned %d\n%s\n", #call, code_, message_ ? message_ : ""); \
      exit(1);                                                                         \
    }                                                                                  \
  } while (0)

/* -1, 0 or 1: a value of element i of an operand of a rank that every rank can compute. */
static int value(int rank, int operand, int i) {
  unsigned x = (unsigned)i * 2654435761u ^ (unsigned)(rank * 7 + operand) * 40503u;
  x ^= x >> 15;
  x *= 2246822519u;
  x ^= x >> 13;
  return (int)(x % 3) - 1;
}

static void *device_copy(const void *host, size_t bytes) {
  void *device = NULL;
  CHECK(aclrtMalloc(&device, bytes, ACL_MEM_MALLOC_HUGE_FIRST));
  if (host) CHECK(aclrtMemcpy(device, bytes, host, bytes, ACL_MEMCPY_HOST_TO_DEVICE));
  return device;
}

static void all_reduce(HcclComm comm, int rank, aclrtStream stream) {
  static float gradient[kGradient];
  for (int i = 0; i < kGradient; ++i) gradient[i] = (float)value(rank, 0, i);
  void *data = device_copy(gradient, sizeof(gradient));
  CHECK(HcclAllReduce(data, data, kGradient, HCCL_DATA_TYPE_FP32, HCCL_REDUCE_SUM, comm, stream));
  CHECK(aclrtSynchronizeStream(stream));
  CHECK(aclrtMemcpy(gradient, sizeof(gradient), data, sizeof(gradient), ACL_MEMCPY_DEVICE_TO_HOST));
  for (int i = 0; i < kGradient; ++i) {
    int sum = 0;
    for (int r = 0; r < kRanks; ++r) sum += value(r, 0, i);
    if (gradient[i] != (float)sum) {
      fprintf(stderr, "rank %d: element %d is %g, not %d\n", rank, i, gradient[i], sum);
      exit(1);
    }
  }
  CHECK(aclrtFree(data));
}

static aclTensor *matrix(int rank, int operand, int64_t rows, int64_t columns, void **data) {
  const size_t bytes = (size_t)(rows * columns) * sizeof(aclFloat16);
  const int64_t shape[] = {rows, columns};
  aclFloat16 *host = NULL;
  if (operand > 0) {
    host = malloc(bytes);
    if (!host) exit(1);
    for (int i = 0; i < rows * columns; ++i)
      host[i] = aclFloatToFloat16((float)value(rank, operand, i));
  }
  *data = device_copy(host, bytes);
  free(host);
  return aclCreateTensor(shape, 2, ACL_FLOAT16, NULL, 0, ACL_FORMAT_ND, shape, 2, *data);
}

static int sum_of_products(int row, int column) {
  int sum = 0;
  for (int r = 0; r < kRanks; ++r)
    for (int p = 0; p < kLocalK; ++p)
      sum += value(r, 1, row * kLocalK + p) * value(r, 2, p * kColumns + column);
  return sum;
}

static void layer(HcclComm comm, int rank, aclrtStream stream) {
  static aclFloat16 part[kRows / kRanks * kColumns];
  char group[COMM_NAME_MAX_LENGTH] = "";
  CHECK(HcclGetCommName(comm, group));
  void *memory[3];
  aclTensor *x1 = matrix(rank, 1, kRows, kLocalK, &memory[0]);
  aclTensor *x2 = matrix(rank, 2, kLocalK, kColumns, &memory[1]);
  aclTensor *output = matrix(rank, 0, kRows / kRanks, kColumns, &memory[2]);

  uint64_t size = 0;
  aclOpExecutor *executor = NULL;
  CHECK(aclnnMatmulReduceScatterGetWorkspaceSize(x1, x2, NULL, group, "sum", 0, ACL_STOP_ON_FAILURE,
                                                 output, &size, &executor));
  void *workspace = size > 0 ? device_copy(NULL, size) : NULL;
  CHECK(aclnnMatmulReduceScatter(workspace, size, executor, stream));
  CHECK(aclrtSynchronizeStream(stream));

  CHECK(aclrtMemcpy(part, sizeof(part), memory[2], sizeof(part), ACL_MEMCPY_DEVICE_TO_HOST));
  for (int i = 0; i < kRows / kRanks; ++i)
    for (int j = 0; j < kColumns; ++j) {
      const int wanted = sum_of_products(rank * (kRows / kRanks) + i, j);
      const float got = aclFloat16ToFloat(part[i * kColumns + j]);
      if (got != (float)wanted) {
        fprintf(stderr, "rank %d: row %d, column %d is %g, not %d\n", rank, i, j, got, wanted);
        exit(1);
      }
    }

  aclDestroyTensor(x1);
  aclDestroyTensor(x2);
  aclDestroyTensor(output);
  for (int i = 0; i < 3; ++i) CHECK(aclrtFree(memory[i]));
  if (workspace) CHECK(aclrtFree(workspace));
}

/* A pipe takes the whole root info at once or in parts. */
static void write_all(int file, const char *bytes, size_t count) {
  while (count > 0) {
    const ssize_t done = write(file, bytes, count);
    if (done <= 0) exit(1);
    bytes += done;
    count -= (size_t)done;
  }
}

static void read_all(int file, char *bytes, size_t count) {
  while (count > 0) {
    const ssize_t done = read(file, bytes, count);
    if (done <= 0) exit(1);
    bytes += done;
    count -= (size_t)done;
  }
}

static int run_rank(int rank, int pipes[kRanks][2]) {
  CHECK(aclInit(NULL));
  CHECK(aclrtSetDevice(rank));
  aclrtStream stream;
  CHECK(aclrtCreateStream(&stream));

  HcclRootInfo root;
  if (rank == 0) {
    CHECK(HcclGetRootInfo(&root));
    for (int r = 1; r < kRanks; ++r) write_all(pipes[r][1], root.internal, sizeof(root.internal));
  } else {
    read_all(pipes[rank][0], root.internal, sizeof(root.internal));
  }
  HcclComm comm;
  CHECK(HcclCommInitRootInfo(kRanks, &root, (uint32_t)rank, &comm));

  all_reduce(comm, rank, stream);
  layer(comm, rank, stream);

  CHECK(HcclCommDestroy(comm));
  CHECK(aclrtDestroyStream(stream));
  CHECK(aclrtResetDevice(rank));
  CHECK(aclFinalize());
  return 0;
}

int main(void) {
  int pipes[kRanks][2];
  for (int r = 0; r < kRanks; ++r)
    if (pipe(pipes[r]) != 0) return perror("pipe"), 1;
  for (int r = 0; r < kRanks; ++r) { /* before the runtime starts its threads */
    const pid_t child = fork();
    if (child < 0) return perror("fork"), 1;
    if (child == 0) return run_rank(r, pipes);
  }
  int failed = 0;
  for (int r = 0; r < kRanks; ++r) {
    int status = 0;
    if (wait(&status) < 0 || !WIFEXITED(status) || WEXITSTATUS(status) != 0) ++failed;
  }
  if (failed > 0) return fprintf(stderr, "%d of %d ranks failed\n", failed, kRanks), 1;
  printf("%d processes: the gradient and the layer are right on every rank\n", kRanks);
  return 0;
}
