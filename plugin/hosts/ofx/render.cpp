#include <map>

#include "actions.h"
#include "colours.h"
#include "notices.h"
#include "planes.h"
#include "problem.h"
#include "runtime.h"
#include "worker_pool.h"

namespace stpn {

namespace {

std::string size_of(const Bounds& bounds) {
    return std::to_string(bounds.width()) + " x " + std::to_string(bounds.height());
}

std::string place_of(const Bounds& bounds) {
    return "(" + std::to_string(bounds.x1) + ", " + std::to_string(bounds.y1) + ")";
}

std::string named(const Clip& clip, Frame frame) { return clip.name() + " at " + std::to_string(frame); }

// One render: what it asks the host for, the job it makes of that, and the way back.
//
// Images are fetched one at a time: to learn a picture's identifier, and again if the worker does not hold it. Hosts
// keep what they have computed, so that the second time costs little, while a whole shot at once may not fit in memory.
class Render {
public:
    Render(Instance& node, const Properties& in)
        : node_(node),
          time_(in.number(ofx::prop::TIME).value_or(0)),
          frame_(nearest_frame(time_)),
          progress_(node.effect(), std::string(node::NAME) + ": frame " + std::to_string(frame_),
                    node.shows_progress) {
        const auto field = in.text(ofx::prop::FIELD_TO_RENDER).value_or(ofx::value::FIELD_NONE);
        if (field != ofx::value::FIELD_NONE)
            throw Problem("The host asks for fields. Motion is told from whole frames: deinterlace first.");
        if (const auto window = in.integers(ofx::prop::RENDER_WINDOW, 4))
            window_ = {(*window)[0], (*window)[1], (*window)[2], (*window)[3]};
        scale_x_ = in.number(ofx::prop::RENDER_SCALE, 0).value_or(1);
        scale_y_ = in.number(ofx::prop::RENDER_SCALE, 1).value_or(1);
    }

    void run() {
        if (!node_.source.connected())
            throw Problem("Connect the plate, every frame of the shot, to the input Source.");
        if (!node_.keys.connected())
            throw Problem(node_.is_filter()
                              ? "Connect the key frames to the input Keys. A host that shows no such input cannot "
                                "use this node as a filter."
                              : "Connect the key frames to the input Keys.");
        const Plan plan = plan_of(node_, time_);
        const Image output = Image::fetch(node_.output, time_, named(node_.output, frame_));
        const Job job = make_job(plan, output);
        JobHooks hooks;
        hooks.aborted = [this] { return is_cancelled_ || suites().effect->abort(node_.effect()) != 0; };
        hooks.progress = [this](double done) { is_cancelled_ = !progress_.update(done) || is_cancelled_; };
        hooks.fill = [this](const std::string& id, std::uint8_t* planes) { fill(id, planes); };
        hooks.finish = [&](const Picture& result, const std::uint8_t* planes) { finish(result, planes, output); };
        hooks.note = [this](const std::string& note) { node_.note(note); };
        run_job(node_.text("device", time_), job, hooks);
    }

private:
    // Where a picture comes from, to fetch it again.
    struct Origin {
        const Clip* clip;
        Frame frame;
    };

    Job make_job(const Plan& plan, const Image& output) {
        Job job;
        job.wanted = {"", 0, 0, output.depth().type, output.channels()};
        job.message.verb = "job";
        job.message.add("frame", std::to_string(frame_));
        add_parameters(job.message);
        std::vector<std::pair<std::string, std::string>> lines;
        // The Source of this frame first: its bounds are the window that all others must fill.
        const std::string here = look_at(node_.source, frame_, job);
        for (const Frame frame : plate_frames(node_, plan, time_))
            lines.emplace_back("source", std::to_string(frame) + " " +
                                             (frame == frame_ ? here : look_at(node_.source, frame, job)));
        for (const Frame frame : plan.keys)
            lines.emplace_back("key", std::to_string(frame) + " " + look_at(node_.keys, frame, job));
        if (node_.matte.connected()) lines.emplace_back("matte", look_at(node_.matte, frame_, job));
        for (const auto& picture : job.pictures) job.message.add("picture", picture.id + " " + picture.layout());
        for (const auto& [name, value] : lines) job.message.add(name, value);
        job.wanted.width = bounds_.width();
        job.wanted.height = bounds_.height();
        job.message.add("want", job.wanted.type + " " + job.wanted.channels);
        return job;
    }

    void add_parameters(Message& message) const {
        const HostColours colours = host_colours(node_);
        for (const auto& one : node::PARAMETERS) {
            if (one.name == "interval" || one.name == "first_key" || one.name == "key_frames") continue;
            std::string value = node_.written(one, time_);
            // A running worker may have been started by another program, with another config around it.
            if (one.name == "ocio" && value.empty()) value = colours.config;
            if (one.name == "ocio" && value.empty()) value = variable("OCIO");
            message.add("parameter", one.name + " " + value);
        }
        if (!colours.source.empty()) message.add("colorspace", colours.source);
        if (!colours.keys.empty()) message.add("keys_colorspace", colours.keys);
    }

    // Names an image and notes the picture; returns its identifier.
    std::string look_at(const Clip& clip, Frame frame, Job& job) {
        if (suites().effect->abort(node_.effect()) != 0) throw Aborted();
        const Image image = Image::fetch(clip, static_cast<double>(frame), named(clip, frame));
        if (bounds_.width() == 0) bounds_ = image.bounds();
        // A matte has nothing outside of its bounds, where it is 0; plates and keys are all of the frame or nothing.
        if (&clip != &node_.matte && image.bounds() != bounds_) refuse_size(clip, frame, image.bounds());
        Picture picture = picture_of(image, bounds_, scale_x_, scale_y_);
        const auto [place, is_new] = origins_.emplace(picture.id, Origin{&clip, frame});
        if (is_new) job.pictures.push_back(picture);
        return place->first;
    }

    [[noreturn]] void refuse_size(const Clip& clip, Frame frame, const Bounds& bounds) const {
        const bool is_moved = bounds.width() == bounds_.width() && bounds.height() == bounds_.height();
        const auto seen = [&](const Bounds& one) { return size_of(one) + (is_moved ? " from " + place_of(one) : ""); };
        throw Problem(named(clip, frame) + " is " + seen(bounds) + ", " + named(node_.source, frame_) + " is " +
                      seen(bounds_) + ": all frames of both must have one size and place. Reformat or crop them.");
    }

    void fill(const std::string& id, std::uint8_t* planes) const {
        const auto found = origins_.find(id);
        const auto& [clip, frame] = found->second;
        const Image image = Image::fetch(*clip, static_cast<double>(frame), named(*clip, frame));
        const Picture picture = picture_of(image, bounds_, scale_x_, scale_y_);
        if (picture.id != id) throw changed(*clip, frame);
        copy_in(image, bounds_, picture, planes);
    }

    void finish(const Picture& result, const std::uint8_t* planes, const Image& output) const {
        const Bounds part = window_ ? overlap(*window_, output.bounds()) : output.bounds();
        bool is_whole = true;
        for (const char channel : output.channels())
            is_whole = is_whole && result.channels.find(channel) != std::string::npos;
        if (is_whole) return copy_out(result, planes, bounds_, nullptr, output, part);
        const Image source = Image::fetch(node_.source, static_cast<double>(frame_), named(node_.source, frame_));
        // Another image here would put one frame's alpha over another frame's colors.
        const auto found = origins_.find(picture_of(source, bounds_, scale_x_, scale_y_).id);
        if (found == origins_.end() || source.bounds() != bounds_) throw changed(node_.source, frame_);
        copy_out(result, planes, bounds_, &source, output, part);
    }

    static Problem changed(const Clip& clip, Frame frame) {
        return Problem(named(clip, frame) + " has changed while the frame was made: render it again.");
    }

    Instance& node_;
    double time_;
    Frame frame_;
    Progress progress_;
    std::optional<Bounds> window_;
    double scale_x_ = 1, scale_y_ = 1;
    Bounds bounds_;
    std::map<std::string, Origin> origins_;
    bool is_cancelled_ = false;
};

}  // namespace

OfxStatus render(Instance& node, const Properties& in) {
    const auto is_aborted = [&node] { return suites().effect->abort(node.effect()) != 0; };
    try {
        Render(node, in).run();
    } catch (const Aborted&) {
        // The host throws away what is in the output; an error would only worry somebody who has pressed a key. Where
        // only the progress bar was cancelled it does not know, and must not keep what is no frame.
        return is_aborted() ? ofx::OK : ofx::FAILED;
    } catch (const Problem& problem) {
        // Hosts that give up a frame refuse the images for it, too.
        if (is_aborted()) return ofx::OK;
        node.complain(problem.what());
        return ofx::FAILED;
    }
    node.stop_complaining();
    return ofx::OK;
}

}  // namespace stpn
