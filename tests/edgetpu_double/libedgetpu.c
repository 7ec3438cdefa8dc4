/* A double of libedgetpu: the same functions and texts, no TPU.
 *
 * Its delegate claims the nodes `edgetpu-custom-op` and computes them in the Python interpreter of the process that
 * loaded it, with kernel.py beside this file. Faults are ordered through environment variables:
 *
 * EDGETPU_DOUBLE_DEVICES  what is plugged in, "usb" and "pci" in the order of enumeration; by default "usb"
 * EDGETPU_DOUBLE_LOCK     a file; whoever opens the TPU locks it, another process cannot open it then
 * EDGETPU_DOUBLE_RUNTIME  the runtime version, by default 14
 * EDGETPU_DOUBLE_FAULTS   words of the form EVENT:FAULT, EVENT:FAULT@N (at the N-th such event), EVENT:FAULT%N (at
 *                         every N-th). Events: list, open, prepare, invoke. Faults: abort, crash, hang, error, wrong
 *                         (a result with its bits flipped), and sleepMS, which takes so many milliseconds more.
 * EDGETPU_DOUBLE_EVENTS   a folder; events are counted there over all processes, a byte each, in files of their names
 * EDGETPU_DOUBLE_MODEL    the uncompiled file, for a compiled one that carries none (Google's own); see kernel.py
 *
 * Build with -DKERNEL_FOLDER="..." , and for another libedgetpu with -DTENSORFLOW_COMMIT, -DCOMPILER, -DPERFORMANCE.
 * -DOLD_STRUCTS takes the structs of TensorFlow 2.5, as Google's own libedgetpu 16.0 does.
 */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <fcntl.h>
#include <signal.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <unistd.h>

#ifndef TENSORFLOW_COMMIT
#define TENSORFLOW_COMMIT "5bc9d26649cca274750ad3625bd93422617eed4b" /* TensorFlow 2.16.1 */
#endif
#ifndef COMPILER
#define COMPILER "12.2.0"
#endif
#ifndef PERFORMANCE
#define PERFORMANCE "DIRECT"
#endif
#define BUILD_LABEL "COMPILER=" COMPILER ",DATE=redacted,TIME=redacted"

const char kDarwinnRuntimePerformance[] = "PERFORMANCE=" PERFORMANCE;
const char kDarwinnRuntimeBuildEmbedLabel[] = "TENSORFLOW_COMMIT=" TENSORFLOW_COMMIT;

/* Of tensorflow/lite/c/common.h, what is used here. The fields are those of TensorFlow 2.5 up to LiteRT 2.x, but for
 * the last ones of TfLiteRegistration and TfLiteDelegate, which came with 2.10 to 2.14. */

enum { kTfLiteOk = 0, kTfLiteError = 1, kTfLiteDelegateFlagsAllowDynamicTensors = 1 };

typedef struct {
    int size;
    int data[];
} IntArray;

typedef struct {
    int type;
    void *data;
    IntArray *dims;
    struct {
        float scale;
        int32_t zero_point;
    } params;
    int allocation_type;
    size_t bytes;
    const void *allocation;
    const char *name;
    void *delegate;
    int buffer_handle;
    bool data_is_stale, is_variable;
    struct {
        int type;
        void *params;
    } quantization;
    void *sparsity;
    const IntArray *dims_signature;
} Tensor;

typedef struct {
    IntArray *inputs, *outputs, *intermediates, *temporaries;
    void *user_data, *builtin_data;
    const void *custom_initial_data;
    int custom_initial_data_size;
} Node; /* the runtime allocates it, so its end does not matter */

struct Registration;
struct Delegate;
typedef struct Context {
    size_t tensors_size;
    int (*GetExecutionPlan)(struct Context *, IntArray **);
    Tensor *tensors;
    void *impl;
    int (*ResizeTensor)(struct Context *, Tensor *, IntArray *);
    void (*ReportError)(struct Context *, const char *, ...);
    int (*AddTensors)(struct Context *, int, int *);
    int (*GetNodeAndRegistration)(struct Context *, int, Node **, struct Registration **);
    int (*ReplaceNodeSubsetsWithDelegateKernels)(struct Context *, struct Registration, const IntArray *,
                                                 struct Delegate *);
} Context; /* likewise */

typedef struct Registration {
    void *(*init)(Context *, const char *, size_t);
    void (*free)(Context *, void *);
    int (*prepare)(Context *, Node *);
    int (*invoke)(Context *, Node *);
    const char *(*profiling_string)(const Context *, const Node *);
    int32_t builtin_code;
    const char *custom_name;
    int version;
#ifndef OLD_STRUCTS
    void *registration_external;
    void *(*async_kernel)(Context *, Node *);
    uint64_t inplace_operator;
#endif
} Registration;

typedef struct Delegate {
    void *data;
    int (*Prepare)(Context *, struct Delegate *);
    void *CopyFromBufferHandle, *CopyToBufferHandle, *FreeBufferHandle;
    int64_t flags;
#ifndef OLD_STRUCTS
    void *opaque_delegate_builder;
#endif
    void *context[2]; /* libedgetpu's class derives from TfLiteDelegate and holds a shared_ptr */
} Delegate;

_Static_assert(sizeof(void *) != 8 || sizeof(Tensor) == 112, "TfLiteTensor");
#ifdef OLD_STRUCTS
_Static_assert(sizeof(void *) != 8 || sizeof(Registration) == 64, "TfLiteRegistration");
#else
_Static_assert(sizeof(void *) != 8 || sizeof(Registration) == 88, "TfLiteRegistration");
#endif

/* Faults */

enum { FAILS = 1, WRONG = 2 };

static int count_event(const char *event) {
    static struct {
        const char *name;
        int count;
    } here[] = {{"list", 0}, {"open", 0}, {"prepare", 0}, {"invoke", 0}};
    const char *folder = getenv("EDGETPU_DOUBLE_EVENTS");
    if (!folder) {
        for (int i = 0;; i++)
            if (!strcmp(here[i].name, event)) return ++here[i].count;
    }
    char path[4096];
    snprintf(path, sizeof path, "%s/%s", folder, event);
    int file = open(path, O_WRONLY | O_APPEND | O_CREAT | O_CLOEXEC, 0644);
    if (file < 0 || write(file, ".", 1) != 1) abort();
    int count = (int)lseek(file, 0, SEEK_END);
    close(file);
    return count;
}

static int suffer(const char *fault) {
    if (!strcmp(fault, "abort")) {
        fputs("F driver/usb/usb_driver.cc:857] transfer on tag 1 failed. Abort. Deadline exceeded: USB transfer error 2 "
              "[LibUsbDataOutCallback]\n", stderr);
        abort();
    }
    if (!strcmp(fault, "crash")) raise(SIGSEGV);
    if (!strcmp(fault, "hang"))
        for (;;) pause();
    if (!strncmp(fault, "sleep", 5)) usleep(1000 * atoi(fault + 5));
    return !strcmp(fault, "error") ? FAILS : !strcmp(fault, "wrong") ? WRONG : 0;
}

/* Counts the event and lets the faults happen that are ordered for it: FAILS or WRONG, or it does not return. */
static int event(const char *name) {
    int count = count_event(name), result = 0;
    const char *order = getenv("EDGETPU_DOUBLE_FAULTS");
    if (!order) return 0;
    char words[1024], *rest = words, *word;
    snprintf(words, sizeof words, "%s", order);
    while ((word = strsep(&rest, " "))) {
        char *fault = strchr(word, ':');
        if (!fault) continue;
        *fault++ = 0;
        char *when = strpbrk(fault, "@%");
        char how = when ? *when : 0;
        int n = when ? atoi(when + 1) : 0;
        if (when) *when = 0;
        if (strcmp(word, name) || (how == '@' && count != n) || (how == '%' && count % n)) continue;
        result |= suffer(fault);
    }
    return result;
}

/* Devices */

enum { PCI = 0, USB = 1, MOST_DEVICES = 8 };

struct edgetpu_device {
    int type;
    const char *path;
};

static size_t find_devices(struct edgetpu_device *found) {
    static const char *paths[2][MOST_DEVICES / 2] = {
        {"/dev/apex_0", "/dev/apex_1", "/dev/apex_2", "/dev/apex_3"},
        {"/sys/bus/usb/devices/1-1", "/sys/bus/usb/devices/1-2", "/sys/bus/usb/devices/2-1", "/sys/bus/usb/devices/2-2"},
    };
    const char *plugged = getenv("EDGETPU_DOUBLE_DEVICES");
    char words[64], *rest = words, *word;
    int seen[2] = {0, 0};
    size_t count = 0;
    snprintf(words, sizeof words, "%s", plugged ? plugged : "usb");
    while ((word = strsep(&rest, " "))) {
        int type = !strcmp(word, "usb") ? USB : !strcmp(word, "pci") ? PCI : -1;
        if (type < 0 || seen[type] == MOST_DEVICES / 2) continue;
        found[count].type = type;
        found[count++].path = paths[type][seen[type]++];
    }
    return count;
}

/* pycoral's grammar: "", "usb", "pci", ":N", "usb:N", "pci:N". */
static bool has_device(const char *name) {
    struct edgetpu_device devices[MOST_DEVICES];
    size_t count = find_devices(devices);
    const char *colon = strchr(name, ':');
    size_t length = colon ? (size_t)(colon - name) : strlen(name);
    int type = length == 0 ? -1 : !strncmp(name, "usb", length) ? USB : !strncmp(name, "pci", length) ? PCI : -2;
    int wanted = colon ? atoi(colon + 1) : 0;
    if (type == -2 || (length != 0 && length != 3) || wanted < 0 || (colon && !colon[1])) return false;
    for (size_t i = 0; i < count; i++)
        if ((type == -1 || devices[i].type == type) && wanted-- == 0) return true;
    return false;
}

static int lock = -1, holders = 0; /* a process shares its TPU with itself */

static bool take_device(void) {
    const char *path = getenv("EDGETPU_DOUBLE_LOCK");
    if (path && holders == 0) {
        lock = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0644);
        if (lock < 0 || flock(lock, LOCK_EX | LOCK_NB)) {
            if (lock >= 0) close(lock);
            return false;
        }
    }
    holders++;
    return true;
}

static void release_device(void) {
    if (--holders == 0 && lock >= 0) {
        close(lock);
        lock = -1;
    }
}

/* The kernel, in Python */

typedef struct {
    const char *name;
    void *data;
    size_t bytes;
} View;

static struct {
    int (*load)(const void *options, size_t size); /* a handle, negative if it cannot be loaded */
    int (*run)(int handle, const View *inputs, int input_count, const View *outputs, int output_count);
} kernel;

static bool start_kernel(void) {
    if (kernel.load) return true;
    int (*ensure)(void) = dlsym(RTLD_DEFAULT, "PyGILState_Ensure");
    void (*release)(int) = dlsym(RTLD_DEFAULT, "PyGILState_Release");
    int (*run)(const char *, void *) = dlsym(RTLD_DEFAULT, "PyRun_SimpleStringFlags");
    if (!ensure || !release || !run) return false;
    char code[4096];
    snprintf(code, sizeof code, "import sys; sys.path.insert(0, %s)\nimport kernel; kernel.register(%zu)\n",
             "r'" KERNEL_FOLDER "'", (size_t)&kernel);
    int state = ensure();
    run(code, NULL);
    release(state);
    return kernel.load != NULL;
}

/* The delegate */

typedef struct {
    const void *options;
    size_t size;
    int handle;
} State;

static int runtime_version(void) {
    const char *version = getenv("EDGETPU_DOUBLE_RUNTIME");
    return version ? atoi(version) : 14;
}

/* Field 0 of the table Package, min_runtime_version. */
static int wanted_runtime(const State *state) {
    const char *mark = memmem(state->options, state->size, "DWN1", 4);
    if (!mark) return 0;
    const char *package = mark - 4, *end = (const char *)state->options + state->size;
    uint32_t root;
    int32_t back, version;
    uint16_t field;
    memcpy(&root, package, 4);
    if (root > (size_t)(end - package) - 4) return 0;
    memcpy(&back, package + root, 4);
    const char *vtable = package + root - back;
    if (vtable < package || vtable > end - 6) return 0;
    memcpy(&field, vtable + 4, 2);
    if (!field || package + root + field > end - 4) return 0;
    memcpy(&version, package + root + field, 4);
    return version;
}

static void *init(Context *context, const char *buffer, size_t length) {
    (void)length;
    const struct {
        Delegate *delegate;
        IntArray *nodes;
    } *params = (const void *)buffer; /* TfLiteDelegateParams */
    Node *node;
    Registration *registration;
    if (context->GetNodeAndRegistration(context, params->nodes->data[0], &node, &registration)) abort();
    State *state = calloc(1, sizeof *state);
    state->options = node->custom_initial_data;
    state->size = node->custom_initial_data_size;
    state->handle = -1;
    return state;
}

static void destroy(Context *context, void *state) {
    (void)context;
    free(state);
}

static int prepare(Context *context, Node *node) {
    State *state = node->user_data;
    int failed = event("prepare") & FAILS, wanted = wanted_runtime(state);
    if (wanted > runtime_version()) {
        context->ReportError(context,
                             "Failed to prepare for TPU. Failed precondition: Package requires runtime version (%d), "
                             "which is newer than this runtime version (%d).", wanted, runtime_version());
        return kTfLiteError;
    }
    if (failed) {
        context->ReportError(context, "Failed to retrieve TPU context.");
        return kTfLiteError;
    }
    if (!start_kernel()) {
        context->ReportError(context, "The double of libedgetpu needs Python.");
        return kTfLiteError;
    }
    if (state->handle < 0) state->handle = kernel.load(state->options, state->size);
    if (state->handle < 0) {
        context->ReportError(context, "Failed to prepare for TPU. Invalid argument: executable.");
        return kTfLiteError;
    }
    return kTfLiteOk;
}

static View *views(Context *context, const IntArray *indices) {
    View *made = calloc(indices->size + 1, sizeof *made);
    for (int i = 0; i < indices->size; i++) {
        const Tensor *tensor = &context->tensors[indices->data[i]];
        made[i] = (View){tensor->name, tensor->data, tensor->bytes};
    }
    return made;
}

static int invoke(Context *context, Node *node) {
    State *state = node->user_data;
    int fault = event("invoke");
    if (fault & FAILS) {
        context->ReportError(context, "Failed to execute request. %s", "Deadline exceeded: USB transfer error 2");
        return kTfLiteError;
    }
    View *inputs = views(context, node->inputs), *outputs = views(context, node->outputs);
    int failed = kernel.run(state->handle, inputs, node->inputs->size, outputs, node->outputs->size);
    for (int i = 0; fault & WRONG && i < node->outputs->size; i++)
        for (size_t j = 0; j < outputs[i].bytes; j++) ((uint8_t *)outputs[i].data)[j] ^= 0xff;
    free(inputs);
    free(outputs);
    if (!failed) return kTfLiteOk;
    context->ReportError(context, "Failed to execute request. %s", "Internal: the kernel of the double failed");
    return kTfLiteError;
}

static int claim(Context *context, Delegate *delegate) {
    IntArray *plan;
    if (context->GetExecutionPlan(context, &plan)) return kTfLiteError;
    int count = plan->size, *indices = malloc(sizeof(int) * (count + 1));
    memcpy(indices, plan->data, sizeof(int) * count); /* the plan changes below */
    Registration registration = {
        .init = init, .free = destroy, .prepare = prepare, .invoke = invoke,
        .custom_name = "EdgeTpuDelegateForCustomOp", .version = 1,
    };
    IntArray *one = malloc(sizeof(IntArray) + sizeof(int));
    one->size = 1;
    for (int i = 0; i < count; i++) {
        Node *node;
        Registration *found;
        if (context->GetNodeAndRegistration(context, indices[i], &node, &found)) continue;
        if (!found->custom_name || strcmp(found->custom_name, "edgetpu-custom-op")) continue;
        one->data[0] = indices[i];
        context->ReplaceNodeSubsetsWithDelegateKernels(context, registration, one, delegate);
    }
    free(one);
    free(indices);
    return kTfLiteOk;
}

/* What libedgetpu exports */

void *tflite_plugin_create_delegate(char **keys, char **values, size_t count, void (*report)(const char *)) {
    (void)report; /* nor does libedgetpu say why */
    const char *device = "";
    for (size_t i = 0; i < count; i++)
        if (!strcmp(keys[i], "device")) device = values[i];
    if (event("open") & FAILS || !has_device(device) || !take_device()) return NULL;
    Delegate *delegate = calloc(1, sizeof *delegate);
    delegate->Prepare = claim;
    delegate->flags = kTfLiteDelegateFlagsAllowDynamicTensors;
    delegate->context[0] = delegate->context[1] = delegate;
    return delegate;
}

void tflite_plugin_destroy_delegate(void *delegate) {
    free(delegate);
    release_device();
}

struct edgetpu_option {
    const char *name, *value;
};

void *edgetpu_create_delegate(int type, const char *path, const struct edgetpu_option *options, size_t count) {
    (void)path, (void)options, (void)count;
    char *key = "device", *value = type == USB ? "usb" : "pci";
    return tflite_plugin_create_delegate(&key, &value, 1, NULL);
}

void edgetpu_free_delegate(void *delegate) { tflite_plugin_destroy_delegate(delegate); }

struct edgetpu_device *edgetpu_list_devices(size_t *count) {
    struct edgetpu_device found[MOST_DEVICES];
    *count = event("list") & FAILS ? 0 : find_devices(found);
    if (!*count) return NULL;
    struct edgetpu_device *devices = malloc(sizeof *devices * *count);
    memcpy(devices, found, sizeof *devices * *count);
    return devices;
}

void edgetpu_free_devices(struct edgetpu_device *devices) { free(devices); }

const char *edgetpu_version(void) {
    static char text[256];
    snprintf(text, sizeof text, "BuildLabel(%s), RuntimeVersion(%d)", BUILD_LABEL, runtime_version());
    return text;
}

void edgetpu_verbosity(int verbosity) { (void)verbosity; }
