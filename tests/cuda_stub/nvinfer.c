/* Stand-ins for the libraries that NVIDIA's Python bindings (tensorrt.so) are linked to, so that the bindings can be
   imported where TensorRT is not installed. Compiled once for each library, with -D of its name below.

   Every factory gives NULL, as the real ones do on a machine without a GPU: the names and signatures of the Python
   API are real, nothing can be built or run. The symbols are what `nm -D --undefined-only tensorrt.so` lists beyond
   the C, C++ and Python libraries in TensorRT 8.4 to 11.4. */

#include <stddef.h>
#include <stdint.h>

#ifdef NVINFER
/* An ILogger begins with the address of its virtual functions. log() is the first of them; from TensorRT 11 on it
   comes after those of IVersionedInterface (two getters and the two forms of the destructor): -DLOG_SLOT=4. */
#ifndef LOG_SLOT
#define LOG_SLOT 0
#endif
typedef void (*log_function)(void *self, int32_t severity, const char *text);

/* What the real createInferBuilder and createInferRuntime say without a driver, at severity ERROR. */
static void *no_gpu(void *logger)
{
    if (logger)
        (*(log_function **)logger)[LOG_SLOT](logger, 1, "CUDA initialization failure with error: 35");
    return NULL;
}

void *createInferBuilder_INTERNAL(void *logger, int32_t version) { (void)version; return no_gpu(logger); }
void *createInferRuntime_INTERNAL(void *logger, int32_t version) { (void)version; return no_gpu(logger); }
void *createInferRefitter_INTERNAL(void *engine, void *logger, int32_t version)
{
    (void)engine;
    (void)version;
    return no_gpu(logger);
}
void *getPluginRegistry(void) { return NULL; }
void *getBuilderPluginRegistry(int32_t capability) { (void)capability; return NULL; }
#endif

#ifdef NVONNXPARSER
void *createNvOnnxParser_INTERNAL(void *network, void *logger, int32_t version)
{
    (void)network;
    (void)logger;
    (void)version;
    return NULL;
}
void *createNvOnnxParserRefitter_INTERNAL(void *refitter, void *logger, int32_t version)
{
    (void)refitter;
    (void)logger;
    (void)version;
    return NULL;
}
int32_t getNvOnnxParserVersion(void) { return 0; }
#endif

#ifdef NVINFER_PLUGIN
_Bool initLibNvInferPlugins(void *logger, const char *space)
{
    (void)logger;
    (void)space;
    return 1;
}
#endif

#ifdef NVPARSERS
/* TensorRT 8 only: createUffParser, FieldMap::FieldMap, createCaffeParser, shutdownProtobufLibrary, in C++ names. */
void *_ZN11nvuffparser15createUffParserEv(void) { return NULL; }
void _ZN11nvuffparser8FieldMapC1EPKcPKvNS_9FieldTypeEi(void *self, const char *name, const void *data, int type, int n)
{
    (void)self;
    (void)name;
    (void)data;
    (void)type;
    (void)n;
}
void *_ZN14nvcaffeparser117createCaffeParserEv(void) { return NULL; }
void _ZN14nvcaffeparser123shutdownProtobufLibraryEv(void) {}
#endif
