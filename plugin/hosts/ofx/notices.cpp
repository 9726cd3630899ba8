#include "notices.h"

#include "host.h"
#include "node.h"

namespace stpn {

namespace {

// Frames that take less than this are over before a person has read the label.
constexpr auto PATIENCE = std::chrono::seconds(2);

}  // namespace

void show_error(OfxImageEffectHandle effect, const std::string& sentence) {
    const auto* message = suites().message;
    if (message == nullptr) return;
    if (suites().messages_persist) {
        message->setPersistentMessage(effect, ofx::value::MESSAGE_ERROR, "stpn", "%s", sentence.c_str());
    } else if (suites().is_background) {
        // Version 1 knows dialogs only, and on a render farm nobody is there to close one.
        message->message(effect, ofx::value::MESSAGE_LOG, "stpn", "%s: %s", node::NAME, sentence.c_str());
    } else {
        message->message(effect, ofx::value::MESSAGE_ERROR, "stpn", "%s", sentence.c_str());
    }
}

void clear_error(OfxImageEffectHandle effect) {
    if (suites().messages_persist) suites().message->clearPersistentMessage(effect);
}

void write_log(OfxImageEffectHandle effect, const std::string& text) {
    if (suites().message != nullptr)
        suites().message->message(effect, ofx::value::MESSAGE_LOG, "stpn", "%s: %s", node::NAME, text.c_str());
}

Progress::Progress(OfxImageEffectHandle effect, std::string label, std::atomic<bool>& busy)
    : effect_(effect), label_(std::move(label)), busy_(busy), begun_(std::chrono::steady_clock::now()) {}

Progress::~Progress() {
    if (!shown_) return;
    if (suites().progress_v2 != nullptr)
        suites().progress_v2->progressEnd(effect_);
    else
        suites().progress_v1->progressEnd(effect_);
    busy_ = false;
}

bool Progress::start() {
    if (suites().progress_v1 == nullptr && suites().progress_v2 == nullptr) return false;
    if (busy_.exchange(true)) return false;
    const auto status = suites().progress_v2 != nullptr
                            ? suites().progress_v2->progressStart(effect_, label_.c_str(), "stpn")
                            : suites().progress_v1->progressStart(effect_, label_.c_str());
    if (status != ofx::OK) busy_ = false;
    return status == ofx::OK;
}

bool Progress::update(double done) {
    if (suites().is_background) return true;
    if (!shown_) {
        if (std::chrono::steady_clock::now() - begun_ < PATIENCE) return true;
        shown_ = start();
        if (!shown_) return true;
    }
    const auto status = suites().progress_v2 != nullptr ? suites().progress_v2->progressUpdate(effect_, done)
                                                        : suites().progress_v1->progressUpdate(effect_, done);
    return status != ofx::REPLY_NO;
}

}  // namespace stpn
