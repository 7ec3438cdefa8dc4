/* A libcudart for tests on machines without a GPU, with malloc behind it. The declarations are those of NVIDIA's
   cuda_runtime_api.h as far as edgeseg uses them; numbers of errors and attributes are from driver_types.h.

   It is stricter than malloc so that mistakes are seen:
   - what is put on a stream is done when the stream (or the device, or an event) is synchronised, not before;
   - waiting for an event does what was on its stream when it was recorded, and no more;
   - device memory is not the host's, and new memory is full of 0xff (NaN): a forgotten copy shows;
   - a copy that is not from and to live memory of the right kind, a second cudaFree, and cudaFree of host memory fail.

   Environment, read at each call:
   STUB_CUDA_ERROR=35         cudaGetDeviceCount and every allocation give this error (35: driver insufficient)
   STUB_CUDA_CAPABILITY=72    compute capability 7.2
   STUB_CUDA_INTEGRATED=1     GPU and CPU share memory, as on a Jetson (default); 0: a PC card
   STUB_CUDA_FREE_BYTES=n     what cudaMemGetInfo says is free; larger allocations fail with 2 (out of memory)

   For tests: stub_cuda_live_allocations, stub_cuda_live_streams, stub_cuda_live_events, stub_cuda_is_device,
   stub_cuda_enqueue. */

#include <pthread.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

enum { SUCCESS = 0, INVALID_VALUE = 1, OUT_OF_MEMORY = 2, INVALID_DEVICE = 101, INVALID_HANDLE = 400, NOT_READY = 600 };
enum { HOST_TO_HOST, HOST_TO_DEVICE, DEVICE_TO_HOST, DEVICE_TO_DEVICE, DEFAULT_COPY };
enum { HOST_MAPPED = 2, STREAM_NON_BLOCKING = 1, MULTIPROCESSORS = 16, INTEGRATED = 18, MAPS_HOST = 19, MAJOR = 75,
       MINOR = 76 };
#define TOTAL_BYTES ((size_t)8 << 30)

typedef int (*callback)(void *argument);
struct allocation { struct allocation *next; char *start; size_t size; int is_host, is_mapped; };
struct work { struct work *next; callback call; void *argument; char *to; const char *from; size_t size; };
struct stream { struct stream *next; struct work *first; long enqueued, begun; int is_non_blocking, error; };
struct event { struct stream *stream; long until; };

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static struct allocation *allocations;
static struct stream *streams;
static struct stream default_stream;
static int live_events;
static __thread int last_error;
static __thread int current_device;

static long number(const char *name, long otherwise)
{
    const char *text = getenv(name);
    return text && *text ? atol(text) : otherwise;
}

static int done(int error)
{
    if (error)
        last_error = error;
    return error;
}

/* The allocation that holds [start, start + size), or NULL. */
static struct allocation *holding(const void *start, size_t size)
{
    struct allocation *a = allocations;
    while (a && !((const char *)start >= a->start && (const char *)start + size <= a->start + a->size))
        a = a->next;
    return a;
}

static int is_device(const void *start, size_t size)
{
    struct allocation *a = holding(start, size);
    return a && (!a->is_host || a->is_mapped);
}

/* Device memory. Only memory that both sides reach may be used as host memory and as device memory. */
int stub_cuda_is_device(const void *start, size_t size)
{
    pthread_mutex_lock(&lock);
    int found = is_device(start, size);
    pthread_mutex_unlock(&lock);
    return found;
}

int stub_cuda_live_allocations(void)
{
    int count = 0;
    pthread_mutex_lock(&lock);
    for (struct allocation *a = allocations; a; a = a->next)
        count++;
    pthread_mutex_unlock(&lock);
    return count;
}

int stub_cuda_live_streams(void)
{
    int count = 0;
    pthread_mutex_lock(&lock);
    for (struct stream *s = streams; s; s = s->next)
        count++;
    pthread_mutex_unlock(&lock);
    return count;
}

int stub_cuda_live_events(void) { return live_events; }

static int allocate(void **out, size_t size, int is_host, int is_mapped)
{
    if (number("STUB_CUDA_ERROR", 0))
        return done((int)number("STUB_CUDA_ERROR", 0));
    if (!out || !size)
        return done(INVALID_VALUE);
    if (size > (size_t)number("STUB_CUDA_FREE_BYTES", (long)(TOTAL_BYTES / 2)))
        return done(OUT_OF_MEMORY);
    struct allocation *a = malloc(sizeof *a);
    *a = (struct allocation){NULL, malloc(size), size, is_host, is_mapped};
    memset(a->start, 0xff, size);
    pthread_mutex_lock(&lock);
    a->next = allocations;
    allocations = a;
    pthread_mutex_unlock(&lock);
    *out = a->start;
    return SUCCESS;
}

static int synchronise_all(void);

static int release(void *start, int is_host)
{
    if (!start)
        return SUCCESS;
    synchronise_all(); /* as cudaFree does */
    pthread_mutex_lock(&lock);
    struct allocation **at = &allocations;
    while (*at && ((*at)->start != start || (*at)->is_host != is_host))
        at = &(*at)->next;
    struct allocation *found = *at;
    if (found)
        *at = found->next;
    pthread_mutex_unlock(&lock);
    if (!found)
        return done(INVALID_VALUE);
    free(found->start);
    free(found);
    return SUCCESS;
}

static int is_stream(const struct stream *stream)
{
    struct stream *s = streams;
    while (s && s != stream)
        s = s->next;
    return s != NULL;
}

static struct stream *resolve(void *handle) { return handle ? handle : &default_stream; }

static int append(struct stream *stream, struct work work)
{
    pthread_mutex_lock(&lock);
    if (stream != &default_stream && !is_stream(stream)) {
        pthread_mutex_unlock(&lock);
        return done(INVALID_HANDLE);
    }
    struct work **at = &stream->first;
    while (*at)
        at = &(*at)->next;
    *at = malloc(sizeof work);
    **at = work;
    stream->enqueued++;
    pthread_mutex_unlock(&lock);
    return SUCCESS;
}

/* Do the first `until` pieces of work of a stream. A failure stays with it, as CUDA's errors do with the context. */
static int run(struct stream *stream, long until)
{
    for (;;) {
        pthread_mutex_lock(&lock);
        struct work *work = stream->begun < until ? stream->first : NULL;
        if (work) {
            stream->first = work->next;
            stream->begun++;
        }
        pthread_mutex_unlock(&lock);
        if (!work)
            return done(stream->error);
        if (work->call) {
            int error = work->call(work->argument);
            if (error)
                stream->error = error;
        } else {
            memmove(work->to, work->from, work->size);
        }
        free(work);
    }
}

static int run_all(int with_non_blocking)
{
    int error = run(&default_stream, default_stream.enqueued);
    for (struct stream *s = streams; s; s = s->next)
        if (with_non_blocking || !s->is_non_blocking) {
            int found = run(s, s->enqueued);
            error = error ? error : found;
        }
    return error;
}

static int synchronise_all(void) { return run_all(1); }

/* Have `call(argument)` called when the stream gets there; what it returns is the stream's error. */
int stub_cuda_enqueue(void *stream, callback call, void *argument)
{
    return append(resolve(stream), (struct work){NULL, call, argument, NULL, NULL, 0});
}

static int enqueue_copy(void *to, const void *from, size_t size, int kind, void *stream)
{
    int to_device = kind == HOST_TO_DEVICE || kind == DEVICE_TO_DEVICE;
    int from_device = kind == DEVICE_TO_HOST || kind == DEVICE_TO_DEVICE;
    pthread_mutex_lock(&lock);
    struct allocation *target = holding(to, size), *source = holding(from, size);
    int ok = kind == DEFAULT_COPY || ((!to_device || is_device(to, size)) && (!from_device || is_device(from, size)));
    if (kind != DEFAULT_COPY) /* plain host memory is not in the list, device memory is no host memory */
        ok = ok && (to_device || !target || target->is_host) && (from_device || !source || source->is_host);
    pthread_mutex_unlock(&lock);
    if (!ok || !to || !from)
        return done(INVALID_VALUE);
    return append(resolve(stream), (struct work){NULL, NULL, NULL, to, from, size});
}

int cudaGetDeviceCount(int *count)
{
    int error = (int)number("STUB_CUDA_ERROR", 0);
    *count = error ? 0 : 1;
    return done(error);
}

int cudaSetDevice(int device)
{
    if (number("STUB_CUDA_ERROR", 0))
        return done((int)number("STUB_CUDA_ERROR", 0));
    if (device != 0)
        return done(INVALID_DEVICE);
    current_device = device;
    return SUCCESS;
}

int cudaGetDevice(int *device)
{
    *device = current_device;
    return SUCCESS;
}

int cudaSetDeviceFlags(unsigned flags)
{
    (void)flags;
    return SUCCESS;
}

int cudaDeviceGetAttribute(int *value, int attribute, int device)
{
    long capability = number("STUB_CUDA_CAPABILITY", 72);
    if (device != 0)
        return done(INVALID_DEVICE);
    switch (attribute) {
    case MULTIPROCESSORS: *value = 8; return SUCCESS;
    case INTEGRATED: *value = (int)number("STUB_CUDA_INTEGRATED", 1); return SUCCESS;
    case MAPS_HOST: *value = 1; return SUCCESS;
    case MAJOR: *value = (int)(capability / 10); return SUCCESS;
    case MINOR: *value = (int)(capability % 10); return SUCCESS;
    default: return done(INVALID_VALUE);
    }
}

int cudaMemGetInfo(size_t *free_bytes, size_t *total)
{
    *free_bytes = (size_t)number("STUB_CUDA_FREE_BYTES", (long)(TOTAL_BYTES / 2));
    *total = TOTAL_BYTES;
    return SUCCESS;
}

int cudaMalloc(void **out, size_t size) { return allocate(out, size, 0, 0); }
int cudaFree(void *start) { return release(start, 0); }
int cudaHostAlloc(void **out, size_t size, unsigned flags) { return allocate(out, size, 1, (flags & HOST_MAPPED) != 0); }
int cudaMallocHost(void **out, size_t size) { return allocate(out, size, 1, 0); }
int cudaFreeHost(void *start) { return release(start, 1); }

int cudaHostGetDevicePointer(void **out, void *host, unsigned flags)
{
    (void)flags;
    pthread_mutex_lock(&lock);
    struct allocation *found = holding(host, 1);
    int ok = found && found->is_host && found->is_mapped;
    pthread_mutex_unlock(&lock);
    *out = ok ? host : NULL;
    return done(ok ? SUCCESS : INVALID_VALUE);
}

int cudaMemcpyAsync(void *to, const void *from, size_t size, int kind, void *stream)
{
    return enqueue_copy(to, from, size, kind, stream);
}

int cudaMemcpy(void *to, const void *from, size_t size, int kind)
{
    int error = enqueue_copy(to, from, size, kind, NULL);
    return error ? error : run_all(0);
}

int cudaMemset(void *to, int value, size_t size)
{
    if (!stub_cuda_is_device(to, size))
        return done(INVALID_VALUE);
    run_all(0);
    memset(to, value, size);
    return SUCCESS;
}

int cudaStreamCreateWithFlags(void **out, unsigned flags)
{
    if (number("STUB_CUDA_ERROR", 0))
        return done((int)number("STUB_CUDA_ERROR", 0));
    struct stream *s = calloc(1, sizeof *s);
    s->is_non_blocking = (flags & STREAM_NON_BLOCKING) != 0;
    pthread_mutex_lock(&lock);
    s->next = streams;
    streams = s;
    pthread_mutex_unlock(&lock);
    *out = s;
    return SUCCESS;
}

int cudaStreamCreate(void **out) { return cudaStreamCreateWithFlags(out, 0); }

int cudaStreamCreateWithPriority(void **out, unsigned flags, int priority)
{
    (void)priority;
    return cudaStreamCreateWithFlags(out, flags);
}

int cudaDeviceGetStreamPriorityRange(int *least, int *greatest)
{
    *least = 0;
    *greatest = -1;
    return SUCCESS;
}

int cudaStreamSynchronize(void *stream)
{
    if (!stream)
        return run_all(0); /* the default stream waits for all streams that block */
    pthread_mutex_lock(&lock);
    struct stream *known = is_stream(stream) ? stream : NULL;
    pthread_mutex_unlock(&lock);
    return known ? run(known, known->enqueued) : done(INVALID_HANDLE);
}

int cudaStreamQuery(void *stream) { return resolve(stream)->first ? NOT_READY : SUCCESS; }

int cudaStreamDestroy(void *stream)
{
    if (cudaStreamSynchronize(stream) == INVALID_HANDLE || !stream)
        return done(INVALID_HANDLE);
    pthread_mutex_lock(&lock);
    struct stream **at = &streams;
    while (*at != stream)
        at = &(*at)->next;
    *at = (*at)->next;
    pthread_mutex_unlock(&lock);
    free(stream);
    return SUCCESS;
}

int cudaDeviceSynchronize(void) { return synchronise_all(); }

int cudaEventCreateWithFlags(void **out, unsigned flags)
{
    (void)flags;
    if (number("STUB_CUDA_ERROR", 0))
        return done((int)number("STUB_CUDA_ERROR", 0));
    *out = calloc(1, sizeof(struct event));
    live_events++;
    return SUCCESS;
}

int cudaEventCreate(void **out) { return cudaEventCreateWithFlags(out, 0); }

int cudaEventRecord(struct event *event, void *stream)
{
    pthread_mutex_lock(&lock);
    int known = !stream || is_stream(stream);
    pthread_mutex_unlock(&lock);
    if (!known)
        return done(INVALID_HANDLE);
    event->stream = resolve(stream);
    event->until = event->stream->enqueued;
    return SUCCESS;
}

int cudaEventSynchronize(struct event *event) { return event->stream ? run(event->stream, event->until) : SUCCESS; }

int cudaEventElapsedTime(float *milliseconds, struct event *from, struct event *to)
{
    (void)from;
    (void)to;
    *milliseconds = 1.0f;
    return SUCCESS;
}

int cudaEventDestroy(struct event *event)
{
    free(event);
    live_events--;
    return SUCCESS;
}

int cudaGetLastError(void)
{
    int error = last_error;
    last_error = SUCCESS;
    return error;
}

const char *cudaGetErrorName(int error)
{
    switch (error) {
    case SUCCESS: return "cudaSuccess";
    case INVALID_VALUE: return "cudaErrorInvalidValue";
    case OUT_OF_MEMORY: return "cudaErrorMemoryAllocation";
    case 35: return "cudaErrorInsufficientDriver";
    case 100: return "cudaErrorNoDevice";
    case INVALID_DEVICE: return "cudaErrorInvalidDevice";
    case INVALID_HANDLE: return "cudaErrorInvalidResourceHandle";
    case NOT_READY: return "cudaErrorNotReady";
    case 700: return "cudaErrorIllegalAddress";
    default: return "cudaErrorUnknown";
    }
}

const char *cudaGetErrorString(int error)
{
    switch (error) {
    case SUCCESS: return "no error";
    case INVALID_VALUE: return "invalid argument";
    case OUT_OF_MEMORY: return "out of memory";
    case 35: return "CUDA driver version is insufficient for CUDA runtime version";
    case 100: return "no CUDA-capable device is detected";
    case INVALID_DEVICE: return "invalid device ordinal";
    case INVALID_HANDLE: return "invalid resource handle";
    case NOT_READY: return "device not ready";
    case 700: return "an illegal memory access was encountered";
    default: return "unknown error";
    }
}

int cudaRuntimeGetVersion(int *version)
{
    *version = 11040;
    return SUCCESS;
}

int cudaDriverGetVersion(int *version)
{
    *version = number("STUB_CUDA_ERROR", 0) ? 0 : 11040;
    return SUCCESS;
}
