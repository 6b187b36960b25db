#include "server/internal/openapi.h"

namespace chorus::inline server {

std::string_view openapi() {
  return R"json({
"openapi": "3.0.3",
"info": {"title": "chorus serve", "version": "1", "description": "Translation as LibreTranslate and DeepL offer it."},
"paths": {
"/translate": {"post": {"summary": "Translate texts",
  "requestBody": {"required": true, "content": {
    "application/json": {"schema": {"$ref": "#/components/schemas/Translate"}},
    "application/x-www-form-urlencoded": {"schema": {"$ref": "#/components/schemas/Translate"}}}},
  "responses": {
    "200": {"description": "The translations: a text for a text, a list for a list", "content": {"application/json": {"schema": {
      "type": "object", "required": ["translatedText"], "properties": {
        "translatedText": {"$ref": "#/components/schemas/Texts"},
        "alternatives": {"type": "array", "items": {}, "description": "Of a list a list of each"},
        "detectedLanguage": {"description": "With source auto; of a list one of each"}}}}}},
    "400": {"$ref": "#/components/responses/Error"}, "403": {"$ref": "#/components/responses/Error"},
    "413": {"$ref": "#/components/responses/Error"}, "429": {"$ref": "#/components/responses/Error"},
    "500": {"$ref": "#/components/responses/Error"}, "504": {"$ref": "#/components/responses/Error"}}}},
"/translate_file": {"post": {"summary": "Translate a document",
  "requestBody": {"required": true, "content": {"multipart/form-data": {"schema": {"type": "object",
    "required": ["file", "source", "target"], "properties": {
      "file": {"type": "string", "format": "binary", "description": "Its name ends as one of supportedFilesFormat of /frontend/settings"},
      "source": {"type": "string", "description": "A code of /languages, or auto"}, "target": {"type": "string"},
      "api_key": {"type": "string"}}}}}},
  "responses": {
    "200": {"description": "Where it may be fetched, for ten minutes", "content": {"application/json": {"schema": {
      "type": "object", "required": ["translatedFileUrl"], "properties": {
        "translatedFileUrl": {"type": "string"}, "detectedLanguage": {"$ref": "#/components/schemas/Detected"}}}}}},
    "400": {"$ref": "#/components/responses/Error"}, "403": {"$ref": "#/components/responses/Error"},
    "413": {"$ref": "#/components/responses/Error"}, "429": {"$ref": "#/components/responses/Error"},
    "500": {"$ref": "#/components/responses/Error"}, "504": {"$ref": "#/components/responses/Error"}}}},
"/download_file/{word}/{name}": {"get": {"summary": "A translated document",
  "parameters": [{"name": "word", "in": "path", "required": true, "schema": {"type": "string"}},
                 {"name": "name", "in": "path", "required": true, "schema": {"type": "string"}}],
  "responses": {"200": {"description": "It", "content": {"application/octet-stream": {}}},
    "404": {"$ref": "#/components/responses/Error"}}}},
"/detect": {"post": {"summary": "Which language a text is in",
  "requestBody": {"required": true, "content": {"application/json": {"schema": {"type": "object", "required": ["q"], "properties": {
    "q": {"$ref": "#/components/schemas/Texts"}, "api_key": {"type": "string"}}}}}},
  "responses": {
    "200": {"description": "The likeliest first", "content": {"application/json": {"schema": {"type": "array", "items": {
      "$ref": "#/components/schemas/Detected"}}}}},
    "400": {"$ref": "#/components/responses/Error"}}}},
"/languages": {"get": {"summary": "Languages, and what each is translated into", "responses": {
  "200": {"description": "All", "content": {"application/json": {"schema": {"type": "array", "items": {"type": "object", "properties": {
    "code": {"type": "string"}, "name": {"type": "string"}, "targets": {"type": "array", "items": {"type": "string"}}}}}}}}}}},
"/frontend/settings": {"get": {"summary": "What a page needs to know", "responses": {"200": {"description": "Settings"}}}},
"/v2/translate": {"post": {"summary": "Translate texts, as DeepL's interface",
  "requestBody": {"required": true, "content": {"application/json": {"schema": {"type": "object", "required": ["text", "target_lang"],
    "properties": {"text": {"type": "array", "maxItems": 50, "items": {"type": "string"}}, "target_lang": {"type": "string"},
      "source_lang": {"type": "string"}, "tag_handling": {"type": "string", "enum": ["html"]}}}}}},
  "responses": {"200": {"description": "The translations", "content": {"application/json": {"schema": {"type": "object", "properties": {
    "translations": {"type": "array", "items": {"type": "object", "properties": {
      "detected_source_language": {"type": "string"}, "text": {"type": "string"}}}}}}}}}}}},
"/v1/score": {"post": {"summary": "How probable given translations are",
  "requestBody": {"required": true, "content": {"application/json": {"schema": {"type": "object",
    "required": ["q", "translation", "source", "target"], "properties": {
      "q": {"$ref": "#/components/schemas/Texts"}, "translation": {"$ref": "#/components/schemas/Texts"},
      "source": {"type": "string"}, "target": {"type": "string"}, "api_key": {"type": "string"}}}}}},
  "responses": {"200": {"description": "Of each pair", "content": {"application/json": {"schema": {"type": "object", "properties": {
    "scores": {"type": "array", "items": {"type": "object", "properties": {
      "logProbability": {"type": "number", "description": "Natural logarithm, summed over the tokens"},
      "score": {"type": "number", "description": "The same per token"}}}}}}}}}}}},
"/": {"get": {"summary": "A page to translate with", "responses": {"200": {"description": "HTML", "content": {"text/html": {}}}}}},
"/health": {"get": {"summary": "Does it live", "responses": {"200": {"description": "Yes"}}}},
"/ready": {"get": {"summary": "Does it take requests", "responses": {
  "200": {"description": "Yes"}, "503": {"$ref": "#/components/responses/Error"}}}},
"/metrics": {"get": {"summary": "Numbers for Prometheus", "responses": {"200": {"description": "Text", "content": {"text/plain": {}}}}}}
},
"components": {
"schemas": {
  "Texts": {"oneOf": [{"type": "string"}, {"type": "array", "items": {"type": "string"}}]},
  "Detected": {"type": "object", "properties": {
    "language": {"type": "string"}, "confidence": {"type": "number", "minimum": 0, "maximum": 100}}},
  "Translate": {"type": "object", "required": ["q", "source", "target"], "properties": {
    "q": {"$ref": "#/components/schemas/Texts"},
    "source": {"type": "string", "description": "A code of /languages, or auto"},
    "target": {"type": "string"},
    "format": {"type": "string", "enum": ["text", "html"], "default": "text"},
    "alternatives": {"type": "integer", "minimum": 0, "default": 0},
    "api_key": {"type": "string"}}}},
"responses": {"Error": {"description": "What is wrong", "content": {"application/json": {"schema": {
  "type": "object", "required": ["error"], "properties": {"error": {"type": "string"}}}}}}}
}
})json";
}

}  // namespace chorus::inline server
