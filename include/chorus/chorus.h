// chorus as a library: sparse mixture-of-experts translation models, trained, pruned and run.
//
//   Model       what a folder holds                       chorus/model.h
//   Translator  text from one language into another       chorus/translator.h
//   Scorer      log-probabilities of given translations   chorus/scorer.h
//   Encoder     what the encoder makes of a text          chorus/encoder.h
//   ModelVocabulary  text as tokens, and back             chorus/vocabulary.h
//   Trainer     a run file becomes a model                chorus/trainer.h
//   prune()     a model with fewer experts                chorus/prune.h
//   bleu(), chrf()                                        chorus/metrics.h
//
// What fails throws Error, or UserError where the caller can mend it; what() is one line (chorus/error.h).
//
// CMake: find_package(chorus), then link chorus::inference for models that are there already, which needs
// neither MPI nor what training needs, or chorus::chorus for all.
#pragma once

#include "chorus/encoder.h"
#include "chorus/error.h"
#include "chorus/metrics.h"
#include "chorus/model.h"
#include "chorus/prune.h"
#include "chorus/scorer.h"
#include "chorus/trainer.h"
#include "chorus/translator.h"
#include "chorus/vocabulary.h"
