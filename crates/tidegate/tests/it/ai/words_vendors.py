"""Asks a mock of the vendors through their own SDKs for what the gateway asks it for, and prints what they understood.

usage: words_vendors.py BASE KEY
"""

import sys
import warnings

from deepgram import DeepgramClient
from deepgram.environment import DeepgramClientEnvironment
from elevenlabs import VoiceSettings
from elevenlabs.client import ElevenLabs
from google import genai
from google.genai import types
from google.oauth2.credentials import Credentials

base, key = sys.argv[1:]
# Google announces the end of Imagen.
warnings.simplefilter("ignore")
sound = b"RIFF\r\n--boundary\r\n\x00\xff" * 100

eleven = ElevenLabs(api_key=key, base_url=base)
spoken = eleven.text_to_speech.stream(
    voice_id="JBFqnCBsd6RMkjVDRZzb",
    text="high water",
    model_id="eleven_v3",
    output_format="mp3_44100_128",
    voice_settings=VoiceSettings(speed=1.1),
)
print("speech", len(b"".join(spoken)))
heard = eleven.speech_to_text.convert(
    model_id="scribe_v2", file=sound, language_code="en", timestamps_granularity="word", tag_audio_events=False
)
print("heard", heard.text, heard.audio_duration_secs, [(word.text, word.type, word.start) for word in heard.words])

deepgram = DeepgramClient(
    api_key=key, environment=DeepgramClientEnvironment(base=base, production=base, agent=base, agent_rest=base)
)
spoken = deepgram.speak.v1.audio.generate(text="high water", model="aura-2-thalia-en", encoding="opus", container="ogg")
print("speech", len(b"".join(spoken)))
heard = deepgram.listen.v1.media.transcribe_file(
    request=sound, model="nova-3", smart_format=True, language="en", utterances=True
)
first = heard.results.channels[0].alternatives[0]
print("heard", first.transcript, heard.metadata.duration, first.words[1].punctuated_word, heard.results.utterances[0].end)

google = genai.Client(api_key=key, http_options=types.HttpOptions(base_url=base, api_version="v1beta"))
voice = types.VoiceConfig(prebuilt_voice_config=types.PrebuiltVoiceConfig(voice_name="Kore"))
told = google.models.generate_content(
    model="gemini-3.8-flash-tts",
    contents="high water",
    config=types.GenerateContentConfig(
        response_modalities=["AUDIO"], speech_config=types.SpeechConfig(voice_config=voice)
    ),
)
print("speech", len(told.candidates[0].content.parts[0].inline_data.data))
told = google.models.generate_content(
    model="gemini-2.5-flash-image",
    contents="a pier",
    config=types.GenerateContentConfig(
        response_modalities=["TEXT", "IMAGE"], image_config=types.ImageConfig(aspect_ratio="1:1")
    ),
)
print("picture", told.candidates[0].content.parts[1].inline_data.data)
# Imagen is at Vertex alone.
vertex = genai.Client(
    vertexai=True,
    project="tide",
    location="global",
    credentials=Credentials(token="a-token"),
    http_options=types.HttpOptions(base_url=base, api_version="v1"),
)
told = vertex.models.generate_images(
    model="imagen-4.0-generate-001", prompt="a pier", config=types.GenerateImagesConfig(number_of_images=2)
)
print("pictures", [one.image.image_bytes for one in told.generated_images])
