// The part of the OpenFX 1.5 interface that this plugin uses: layouts, signatures and names, declared from the
// specification. The order of the members is the interface; members that are not called keep their place.
#pragma once

#include <cstddef>

extern "C" {

typedef int OfxStatus;
typedef double OfxTime;
typedef struct OfxPropertySetStruct* OfxPropertySetHandle;
typedef struct OfxImageEffectStruct* OfxImageEffectHandle;
typedef struct OfxImageClipStruct* OfxImageClipHandle;
typedef struct OfxParamStruct* OfxParamHandle;
typedef struct OfxParamSetStruct* OfxParamSetHandle;

struct OfxRectD {
    double x1, y1, x2, y2;
};

struct OfxHost {
    OfxPropertySetHandle host;
    const void* (*fetchSuite)(OfxPropertySetHandle host, const char* name, int version);
};

typedef OfxStatus (*OfxEntryPoint)(const char* action, const void* handle, OfxPropertySetHandle in,
                                   OfxPropertySetHandle out);

struct OfxPlugin {
    const char* pluginApi;
    int apiVersion;
    const char* pluginIdentifier;
    unsigned int pluginVersionMajor;
    unsigned int pluginVersionMinor;
    void (*setHost)(OfxHost* host);
    OfxEntryPoint mainEntry;
};

struct OfxPropertySuiteV1 {
    OfxStatus (*propSetPointer)(OfxPropertySetHandle, const char*, int index, void*);
    OfxStatus (*propSetString)(OfxPropertySetHandle, const char*, int index, const char*);
    OfxStatus (*propSetDouble)(OfxPropertySetHandle, const char*, int index, double);
    OfxStatus (*propSetInt)(OfxPropertySetHandle, const char*, int index, int);
    OfxStatus (*propSetPointerN)(OfxPropertySetHandle, const char*, int count, void* const*);
    OfxStatus (*propSetStringN)(OfxPropertySetHandle, const char*, int count, const char* const*);
    OfxStatus (*propSetDoubleN)(OfxPropertySetHandle, const char*, int count, const double*);
    OfxStatus (*propSetIntN)(OfxPropertySetHandle, const char*, int count, const int*);
    OfxStatus (*propGetPointer)(OfxPropertySetHandle, const char*, int index, void**);
    OfxStatus (*propGetString)(OfxPropertySetHandle, const char*, int index, char**);
    OfxStatus (*propGetDouble)(OfxPropertySetHandle, const char*, int index, double*);
    OfxStatus (*propGetInt)(OfxPropertySetHandle, const char*, int index, int*);
    OfxStatus (*propGetPointerN)(OfxPropertySetHandle, const char*, int count, void**);
    OfxStatus (*propGetStringN)(OfxPropertySetHandle, const char*, int count, char**);
    OfxStatus (*propGetDoubleN)(OfxPropertySetHandle, const char*, int count, double*);
    OfxStatus (*propGetIntN)(OfxPropertySetHandle, const char*, int count, int*);
    OfxStatus (*propReset)(OfxPropertySetHandle, const char*);
    OfxStatus (*propGetDimension)(OfxPropertySetHandle, const char*, int* count);
};

struct OfxImageEffectSuiteV1 {
    OfxStatus (*getPropertySet)(OfxImageEffectHandle, OfxPropertySetHandle*);
    OfxStatus (*getParamSet)(OfxImageEffectHandle, OfxParamSetHandle*);
    OfxStatus (*clipDefine)(OfxImageEffectHandle, const char* name, OfxPropertySetHandle*);
    OfxStatus (*clipGetHandle)(OfxImageEffectHandle, const char* name, OfxImageClipHandle*, OfxPropertySetHandle*);
    OfxStatus (*clipGetPropertySet)(OfxImageClipHandle, OfxPropertySetHandle*);
    OfxStatus (*clipGetImage)(OfxImageClipHandle, OfxTime, const OfxRectD* region, OfxPropertySetHandle*);
    OfxStatus (*clipReleaseImage)(OfxPropertySetHandle);
    OfxStatus (*clipGetRegionOfDefinition)(OfxImageClipHandle, OfxTime, OfxRectD*);
    int (*abort)(OfxImageEffectHandle);
    OfxStatus (*imageMemoryAlloc)(OfxImageEffectHandle, size_t, void** memory);
    OfxStatus (*imageMemoryFree)(void* memory);
    OfxStatus (*imageMemoryLock)(void* memory, void**);
    OfxStatus (*imageMemoryUnlock)(void* memory);
};

struct OfxParameterSuiteV1 {
    OfxStatus (*paramDefine)(OfxParamSetHandle, const char* type, const char* name, OfxPropertySetHandle*);
    OfxStatus (*paramGetHandle)(OfxParamSetHandle, const char* name, OfxParamHandle*, OfxPropertySetHandle*);
    OfxStatus (*paramSetGetPropertySet)(OfxParamSetHandle, OfxPropertySetHandle*);
    OfxStatus (*paramGetPropertySet)(OfxParamHandle, OfxPropertySetHandle*);
    OfxStatus (*paramGetValue)(OfxParamHandle, ...);
    OfxStatus (*paramGetValueAtTime)(OfxParamHandle, OfxTime, ...);
    OfxStatus (*paramGetDerivative)(OfxParamHandle, OfxTime, ...);
    OfxStatus (*paramGetIntegral)(OfxParamHandle, OfxTime, OfxTime, ...);
    OfxStatus (*paramSetValue)(OfxParamHandle, ...);
    OfxStatus (*paramSetValueAtTime)(OfxParamHandle, OfxTime, ...);
    OfxStatus (*paramGetNumKeys)(OfxParamHandle, unsigned int*);
    OfxStatus (*paramGetKeyTime)(OfxParamHandle, unsigned int, OfxTime*);
    OfxStatus (*paramGetKeyIndex)(OfxParamHandle, OfxTime, int, int*);
    OfxStatus (*paramDeleteKey)(OfxParamHandle, OfxTime);
    OfxStatus (*paramDeleteAllKeys)(OfxParamHandle);
    OfxStatus (*paramCopy)(OfxParamHandle, OfxParamHandle, OfxTime, const void* range);
    OfxStatus (*paramEditBegin)(OfxParamSetHandle, const char*);
    OfxStatus (*paramEditEnd)(OfxParamSetHandle);
};

// Version 1 ends after `message`.
struct OfxMessageSuiteV2 {
    OfxStatus (*message)(void* handle, const char* type, const char* id, const char* format, ...);
    OfxStatus (*setPersistentMessage)(void* handle, const char* type, const char* id, const char* format, ...);
    OfxStatus (*clearPersistentMessage)(void* handle);
};

struct OfxProgressSuiteV1 {
    OfxStatus (*progressStart)(void* instance, const char* label);
    OfxStatus (*progressUpdate)(void* instance, double progress);
    OfxStatus (*progressEnd)(void* instance);
};

struct OfxProgressSuiteV2 {
    OfxStatus (*progressStart)(void* instance, const char* message, const char* id);
    OfxStatus (*progressUpdate)(void* instance, double progress);
    OfxStatus (*progressEnd)(void* instance);
};

}  // extern "C"

namespace ofx {

enum : OfxStatus {
    OK = 0,
    FAILED = 1,
    ERROR_MISSING_HOST_FEATURE = 4,
    ERROR_MEMORY = 8,
    ERROR_BAD_HANDLE = 9,
    REPLY_NO = 13,
    REPLY_DEFAULT = 14,
};

namespace suite {
constexpr auto PROPERTY = "OfxPropertySuite";
constexpr auto IMAGE_EFFECT = "OfxImageEffectSuite";
constexpr auto PARAMETER = "OfxParameterSuite";
constexpr auto MESSAGE = "OfxMessageSuite";
constexpr auto PROGRESS = "OfxProgressSuite";
}  // namespace suite

namespace action {
constexpr auto LOAD = "OfxActionLoad";
constexpr auto UNLOAD = "OfxActionUnload";
constexpr auto DESCRIBE = "OfxActionDescribe";
constexpr auto CREATE_INSTANCE = "OfxActionCreateInstance";
constexpr auto DESTROY_INSTANCE = "OfxActionDestroyInstance";
constexpr auto INSTANCE_CHANGED = "OfxActionInstanceChanged";
constexpr auto DESCRIBE_IN_CONTEXT = "OfxImageEffectActionDescribeInContext";
constexpr auto REGION_OF_DEFINITION = "OfxImageEffectActionGetRegionOfDefinition";
constexpr auto REGIONS_OF_INTEREST = "OfxImageEffectActionGetRegionsOfInterest";
constexpr auto TIME_DOMAIN = "OfxImageEffectActionGetTimeDomain";
constexpr auto FRAMES_NEEDED = "OfxImageEffectActionGetFramesNeeded";
constexpr auto CLIP_PREFERENCES = "OfxImageEffectActionGetClipPreferences";
constexpr auto IS_IDENTITY = "OfxImageEffectActionIsIdentity";
constexpr auto RENDER = "OfxImageEffectActionRender";
constexpr auto OUTPUT_COLOURSPACE = "OfxImageEffectActionGetOutputColourspace";
}  // namespace action

namespace context {
constexpr auto FILTER = "OfxImageEffectContextFilter";
constexpr auto GENERAL = "OfxImageEffectContextGeneral";
}  // namespace context

namespace components {
constexpr auto RGBA = "OfxImageComponentRGBA";
constexpr auto RGB = "OfxImageComponentRGB";
constexpr auto ALPHA = "OfxImageComponentAlpha";
}  // namespace components

namespace depth {
constexpr auto BYTE = "OfxBitDepthByte";
constexpr auto SHORT = "OfxBitDepthShort";
constexpr auto HALF = "OfxBitDepthHalf";
constexpr auto FLOAT = "OfxBitDepthFloat";
}  // namespace depth

// Values of enumerating properties.
namespace value {
constexpr auto PLUGIN_API = "OfxImageEffectPluginAPI";
constexpr auto FULLY_SAFE = "OfxImageEffectRenderFullySafe";
constexpr auto FIELD_NONE = "OfxFieldNone";
constexpr auto OPAQUE = "OfxImageOpaque";
constexpr auto INVALIDATE_ALL = "OfxParamInvalidateAll";
constexpr auto SINGLE_LINE = "OfxParamStringIsSingleLine";
constexpr auto FILE_PATH = "OfxParamStringIsFilePath";
constexpr auto TYPE_PARAMETER = "OfxTypeParameter";
constexpr auto MESSAGE_ERROR = "OfxMessageError";
constexpr auto MESSAGE_LOG = "OfxMessageLog";
constexpr auto COLOURS_BASIC = "OfxImageEffectColourManagementBasic";
constexpr auto COLOURS_CORE = "OfxImageEffectColourManagementCore";
constexpr auto COLOURS_FULL = "OfxImageEffectColourManagementFull";
constexpr auto COLOURS_OCIO = "OfxImageEffectColourManagementOCIO";
constexpr auto NATIVE_CONFIG = "ofx-native-v1.5_aces-v1.3_ocio-v2.3";
constexpr auto RAW = "ofx_raw";
constexpr auto SCENE_LINEAR = "ofx_scene_linear";
}  // namespace value

namespace type {
constexpr auto INTEGER = "OfxParamTypeInteger";
constexpr auto DOUBLE = "OfxParamTypeDouble";
constexpr auto BOOLEAN = "OfxParamTypeBoolean";
constexpr auto CHOICE = "OfxParamTypeChoice";
constexpr auto STRING = "OfxParamTypeString";
constexpr auto GROUP = "OfxParamTypeGroup";
constexpr auto PAGE = "OfxParamTypePage";
}  // namespace type

namespace prop {
constexpr auto TIME = "OfxPropTime";
constexpr auto NAME = "OfxPropName";
constexpr auto TYPE = "OfxPropType";
constexpr auto LABEL = "OfxPropLabel";
constexpr auto VERSION = "OfxPropVersion";
constexpr auto DESCRIPTION = "OfxPropPluginDescription";
constexpr auto INSTANCE_DATA = "OfxPropInstanceData";

constexpr auto CONTEXT = "OfxImageEffectPropContext";
constexpr auto SUPPORTED_CONTEXTS = "OfxImageEffectPropSupportedContexts";
constexpr auto SUPPORTED_DEPTHS = "OfxImageEffectPropSupportedPixelDepths";
constexpr auto SUPPORTED_COMPONENTS = "OfxImageEffectPropSupportedComponents";
constexpr auto GROUPING = "OfxImageEffectPluginPropGrouping";
constexpr auto THREAD_SAFETY = "OfxImageEffectPluginRenderThreadSafety";
constexpr auto HOST_FRAME_THREADING = "OfxImageEffectPluginPropHostFrameThreading";
constexpr auto TEMPORAL_ACCESS = "OfxImageEffectPropTemporalClipAccess";
constexpr auto TILES = "OfxImageEffectPropSupportsTiles";
constexpr auto MULTI_RESOLUTION = "OfxImageEffectPropSupportsMultiResolution";
constexpr auto MULTIPLE_DEPTHS = "OfxImageEffectPropMultipleClipDepths";
constexpr auto PREFERENCES_PARAMETER = "OfxImageEffectPropClipPreferencesSlaveParam";
constexpr auto IS_BACKGROUND = "OfxImageEffectHostPropIsBackground";
constexpr auto COLOUR_STYLE = "OfxImageEffectPropColourManagementStyle";
constexpr auto COLOUR_CONFIGS = "OfxImageEffectPropColourManagementAvailableConfigs";
constexpr auto OCIO_CONFIG = "OfxImageEffectPropOCIOConfig";

constexpr auto RENDER_SCALE = "OfxImageEffectPropRenderScale";
constexpr auto RENDER_WINDOW = "OfxImageEffectPropRenderWindow";
constexpr auto FIELD_TO_RENDER = "OfxImageEffectPropFieldToRender";
constexpr auto REGION_OF_DEFINITION = "OfxImageEffectPropRegionOfDefinition";
constexpr auto FRAME_RANGE = "OfxImageEffectPropFrameRange";
constexpr auto FRAME_VARYING = "OfxImageEffectFrameVarying";

constexpr auto CLIP_OPTIONAL = "OfxImageClipPropOptional";
constexpr auto CLIP_IS_MASK = "OfxImageClipPropIsMask";
constexpr auto CLIP_CONNECTED = "OfxImageClipPropConnected";
constexpr auto CLIP_COLOURSPACE = "OfxImageClipPropColourspace";
// With the name of a clip behind, in what an action gives back.
constexpr auto COMPONENTS_OF = "OfxImageClipPropComponents_";
constexpr auto DEPTH_OF = "OfxImageClipPropDepth_";
constexpr auto PREFERRED_COLOURSPACES_OF = "OfxImageClipPropPreferredColourspaces_";
constexpr auto FRAMES_OF = "OfxImageClipPropFrameRange_";
constexpr auto REGION_OF = "OfxImageClipPropRoI_";

constexpr auto DEPTH = "OfxImageEffectPropPixelDepth";
constexpr auto COMPONENTS = "OfxImageEffectPropComponents";
constexpr auto PREMULTIPLICATION = "OfxImageEffectPropPreMultiplication";
constexpr auto DATA = "OfxImagePropData";
constexpr auto BOUNDS = "OfxImagePropBounds";
constexpr auto ROW_BYTES = "OfxImagePropRowBytes";
constexpr auto FIELD = "OfxImagePropField";
constexpr auto UNIQUE_IDENTIFIER = "OfxImagePropUniqueIdentifier";

constexpr auto HINT = "OfxParamPropHint";
constexpr auto SCRIPT_NAME = "OfxParamPropScriptName";
constexpr auto DEFAULT = "OfxParamPropDefault";
constexpr auto ANIMATES = "OfxParamPropAnimates";
constexpr auto ENABLED = "OfxParamPropEnabled";
constexpr auto INVALIDATION = "OfxParamPropCacheInvalidation";
constexpr auto CHOICE_OPTION = "OfxParamPropChoiceOption";
constexpr auto MINIMUM = "OfxParamPropMin";
constexpr auto MAXIMUM = "OfxParamPropMax";
constexpr auto DISPLAY_MINIMUM = "OfxParamPropDisplayMin";
constexpr auto DISPLAY_MAXIMUM = "OfxParamPropDisplayMax";
constexpr auto STRING_MODE = "OfxParamPropStringMode";
constexpr auto FILE_EXISTS = "OfxParamPropStringFilePathExists";
constexpr auto PARENT = "OfxParamPropParent";
constexpr auto PAGE_CHILD = "OfxParamPropPageChild";
constexpr auto PAGE_ORDER = "OfxPluginPropParamPageOrder";
}  // namespace prop

}  // namespace ofx
